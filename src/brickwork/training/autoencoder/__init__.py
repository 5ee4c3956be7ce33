"""Training of autoencoders: what makes the latents that denoisers learn."""
