"""Captions as tokens that a denoiser can follow."""
