"""Targets: the device runtimes that a package can be made for, one file each."""
