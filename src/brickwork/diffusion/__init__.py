"""Mathematics of diffusion: noise processes, predictions, schedules, seeded noise, the denoiser."""
