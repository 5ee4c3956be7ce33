"""Training runs of every kind: folder, log, state file, lock, curve, precision."""
