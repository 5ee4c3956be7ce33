"""Training of autoencoders, whose latents denoisers learn."""
