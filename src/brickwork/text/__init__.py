"""Text encoders: convert captions into embedded tokens that a denoiser is conditioned on."""
