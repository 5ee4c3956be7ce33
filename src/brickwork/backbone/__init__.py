"""Backbones: the neural networks that are trained, one module per design."""
