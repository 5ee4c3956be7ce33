"""Training of denoisers: recipe, batches, loss, state, loop."""
