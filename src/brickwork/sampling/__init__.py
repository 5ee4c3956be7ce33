"""The runtime: noise levels, solvers and the loop, on torch tensors and numpy arrays alike."""
