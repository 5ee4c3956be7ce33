"""Toolkits: the Python packages that write a target's graphs, and the advice for installing missing ones."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import final

from brickwork.errors import MissingExtraError, PackageError


@final
@dataclass(frozen=True, kw_only=True)
class Toolkit:
    """The Python packages that a target needs.

    Attributes:
        title: Name of the runtime for people, as in "ONNX Runtime".
        packages: Their names for pip.
        extra: Extra of brickwork that installs them; "" where none does.
        advice: Way to install them where no extra does.
    """

    title: str
    packages: tuple[str, ...]
    extra: str = ""
    advice: str = ""

    def versions(self) -> dict[str, str]:
        """Return the installed version of each package.

        Raises:
            MissingExtraError: One is not installed, and an extra has it.
            PackageError: One is not installed, and no extra has it.
        """
        return {package: self._version(package) for package in self.packages}

    def _version(self, package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError as error:
            if self.extra:
                raise MissingExtraError(self.extra, package, f"packing for {self.title}") from error
            raise PackageError(f"packing for {self.title} needs {package}, which is no extra: {self.advice}") from error
