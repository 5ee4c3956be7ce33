"""Every text encoder by the name that files and recipes have for it."""

from __future__ import annotations

from brickwork.text.base import TextConfig

TEXTS: dict[str, type[TextConfig]] = {}
"""Configs of text encoders."""
