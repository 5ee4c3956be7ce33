"""A trained model: its parts, its file, its cost."""
