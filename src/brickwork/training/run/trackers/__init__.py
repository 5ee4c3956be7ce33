"""Trackers: observers that send a run's log, pictures and recipe to TensorBoard, Weights & Biases or MLflow."""
