"""Latency, memory and energy of models and packages, side by side."""
