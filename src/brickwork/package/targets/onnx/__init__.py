"""Packages for ONNX Runtime."""
