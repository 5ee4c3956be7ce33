"""Training: a recipe and images become a model."""
