"""Layouts of a package: whole graphs, one block with streamed weights, a scan."""
