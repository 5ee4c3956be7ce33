"""Quality of drawn pictures: held-out loss, Fréchet distance, class agreement, seams."""
