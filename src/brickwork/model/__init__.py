"""Trained models: what they are made of, their files, their cost."""
