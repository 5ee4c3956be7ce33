"""From a model to a folder that a device runs: static graphs, their weights, and a manifest that says what they are."""
