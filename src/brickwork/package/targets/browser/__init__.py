"""Packages for the browser."""
