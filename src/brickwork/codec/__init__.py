"""What model space means as pictures."""
