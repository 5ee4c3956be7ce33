"""What models are worth: held-out loss, Fréchet distance, agreement of a classifier."""
