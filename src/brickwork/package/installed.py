"""Versions of what a target writes its graphs with, for the manifest; what is missing is named with its extra."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from brickwork.errors import MissingExtraError


def installed(extra: str, purpose: str, *packages: str) -> dict[str, str]:
    """Version by package, as pip names it.

    Raises:
        MissingExtraError: One is not installed.
    """
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError as error:
            raise MissingExtraError(extra, package, purpose) from error
    return found
