"""Packages: a model as a folder that a device runs, with static graphs, weights and a manifest that describes them."""
