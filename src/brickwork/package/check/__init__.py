"""Checks of a package against its model: parity, quality, sensitivity."""
