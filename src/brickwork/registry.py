"""Registries: config classes by their names in files, recipes and on the command line; open to other packages.

A class of another package gets a name in one of two ways. ``@register("conv")`` names it as soon as its module is
imported, which is enough for a script or a notebook. An installed package also states it among its entry points, so
that files and the command line find it without an import::

    [project.entry-points."brickwork.backbone"]
    conv = "brickwork_conv:ConvConfig"

The group is "brickwork." and the registry's kind. Names are listed from the packages' metadata; a class is imported
when it is asked for. A file that uses such a class keeps the name of its package beside the class's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

from brickwork.errors import ExtensionError, UnknownNameError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Made = TypeVar("Made", bound=Callable[..., Any])
"""A class, or a function with some of its arguments set."""
Class = TypeVar("Class", bound=type)

RESERVED = ("kind", "name", "package", "preset", "proposed")
"""Keys of a recipe's table with another meaning; no field of a class may have such a name."""
_REGISTRIES: dict[type, Registry[Any]] = {}
"""Registries by the base class of their entries."""


@final
class Registry(Mapping[str, Made], Generic[Made]):
    """Frozen config classes of one kind by name: the library's own, then those of other packages.

    It stands in the module of its base class, or in ``table.py`` of the same room, where :func:`register` looks.

    Args:
        kind: A word for messages, and the end of the entry-point group: "backbone", "solver".
        base: The class that all entries derive from.
        own: The library's entries. One class may have two names; the first is the one that is written.
    """

    def __init__(self, kind: str, base: type, own: Mapping[str, Made]) -> None:
        self.kind = kind
        self.base = base
        self._own = dict(own)
        self._added: dict[str, Any] = {}
        _REGISTRIES[base] = self

    @property
    def group(self) -> str:
        """The group of entry points under which packages state classes of this kind."""
        return f"brickwork.{self.kind.replace(' ', '-')}"

    def __getitem__(self, name: str) -> Made:
        if name in self._own:
            return self._own[name]
        if name not in self._added:
            self._import(name)
        return self._added[name]

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._added or any(point.name == name for point in _points(self.group))

    def __iter__(self) -> Iterator[str]:
        stated = {point.name for point in _points(self.group)}
        return iter([*self._own, *sorted((stated | self._added.keys()) - self._own.keys())])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def find(self, name: str, package: str = "") -> Made:
        """Return the entry of a name that a user, a file or a recipe states.

        Args:
            name: The name.
            package: The outside package that the file names for it; "" for the library's own or where none is named.

        Raises:
            UnknownNameError: No such name; the message lists similar ones.
            ExtensionError: The package that has it is missing here, cannot be imported, or lost the name to another.
        """
        if package and name in self._own:
            raise ExtensionError(
                f"{self.kind} {name!r} is of the package {package!r}, and this brickwork has one of its own by that "
                "name: rename it there, or use the brickwork it was written with"
            )
        if name in self:
            return self[name]
        if package:
            raise ExtensionError(
                f"no {self.kind} named {name!r} here: it is of the package {package!r}, which is missing or lacks it; "
                f"pip install {package}, or import the module that registers it"
            )
        raise UnknownNameError(self.kind, name, self)

    def name_of(self, config: object) -> str:
        """Return the name of a config, or of its class; of several names the first.

        Raises:
            ExtensionError: Its class is registered under no name.
        """
        kind = config if isinstance(config, type) else type(config)
        for name, made in {**self._own, **self._added}.items():
            if made is kind or _makes(made, config):
                return name
        raise ExtensionError(
            f'{kind.__name__} is registered under no name: put @brickwork.register("name") on the class, so that a '
            "file can say which one it is"
        )

    def package_of(self, name: str) -> str:
        """Return the package that an entry comes from, or "" for the library's own.

        An installed package is named as pip knows it; a class of a script or notebook by its module.
        """
        if name in self._own:
            return ""
        module = self[name].__module__.partition(".")[0]
        for point in _points(self.group):
            if point.name == name and point.dist is not None and point.module.partition(".")[0] == module:
                return point.dist.name
        return module

    def add(self, name: str, entry: Any) -> None:
        """Add a class of another package; adding the same one again is no mistake.

        Raises:
            ExtensionError: The name is taken, or the class is no finished frozen dataclass.
        """
        told = f"{self.kind} {name!r} ({entry.__module__}.{entry.__qualname__})"
        there = self._own.get(name, self._added.get(name))
        if there is not None and (there.__module__, there.__qualname__) != (entry.__module__, entry.__qualname__):
            raise ExtensionError(f"{told}: the name is taken by {_called(there)}; register it under another one")
        if name in self._own or not name or set(name) & set(":=, "):
            raise ExtensionError(f"{told}: a new name is needed, without spaces, colons, commas or equals signs")
        _check_config(entry, told)
        self._added[name] = entry

    def _import(self, name: str) -> None:
        """Import the class that a package states under a name. Raises KeyError where none does."""
        points = [point for point in _points(self.group) if point.name == name]
        if not points:
            raise KeyError(name)
        packages = [point.dist.name if point.dist else point.value for point in points]
        if len(set(packages)) > 1:
            raise ExtensionError(
                f"{self.kind} {name!r} is in the packages {' and '.join(packages)}: uninstall all but one of them"
            )
        try:
            entry = points[0].load()
        except Exception as error:
            raise ExtensionError(
                f"{self.kind} {name!r} of the package {packages[0]} cannot be imported "
                f"({type(error).__name__}: {error}): repair or uninstall that package"
            ) from error
        if not (isinstance(entry, type) and issubclass(entry, self.base)):
            raise ExtensionError(
                f"{self.kind} {name!r} of the package {packages[0]} is {points[0].value}, which is no subclass of "
                f"{self.base.__name__}: repair or uninstall that package"
            )
        self.add(name, entry)


def register(name: str) -> Callable[[Class], Class]:
    """Return a class decorator that gives a class a name for files, recipes and the command line.

    The class is a frozen dataclass derived from one of the public base classes, which says its kind: a subclass of
    ``BackboneConfig`` is a backbone, one of ``NoiseProcess`` a process, one of ``Solver`` a solver.

    Args:
        name: The name; not one that is taken in the same registry.

    Raises:
        ExtensionError: Raised by the decorator: the class is of no known kind, is no frozen dataclass or leaves a
            method abstract, or the name is taken.
    """

    def registered(entry: Class) -> Class:
        registry_for(entry).add(name, entry)
        return entry

    return registered


def registry_for(entry: type) -> Registry[Any]:
    """Return the registry of a class's kind.

    Raises:
        ExtensionError: It derives from no class that has one.
    """
    for import_tables in (False, True):
        for base in entry.__mro__[:-1]:
            room = base.__module__.rpartition(".")[0]
            if import_tables and room.startswith("brickwork.") and find_spec(f"{room}.table"):
                import_module(f"{room}.table")
            if base in _REGISTRIES:
                return _REGISTRIES[base]
    raise ExtensionError(
        f"{_called(entry)} derives from no base class that has a registry: derive it from BackboneConfig (for a "
        "backbone, register the config), NoiseProcess, Solver or another one in docs/extending.md"
    )


def registry_with(base: object) -> Registry[Any] | None:
    """Return the registry whose entries derive from exactly this base class, or None."""
    return _REGISTRIES.get(base) if isinstance(base, type) else None


def _check_config(entry: type, told: str) -> None:
    """Refuse a class whose instances cannot be written to a file and read again."""
    parameters = entry.__dict__.get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        raise ExtensionError(f"{told}: it must be a frozen dataclass; put @dataclass(frozen=True, kw_only=True) on it")
    if inspect.isabstract(entry):
        missing = ", ".join(sorted(entry.__abstractmethods__))
        raise ExtensionError(f"{told}: it leaves {missing} abstract; write these first")
    if taken := sorted({item.name for item in fields(entry)} & set(RESERVED)):
        raise ExtensionError(f"{told}: a recipe's table has keys {', '.join(taken)} of its own; rename these fields")


def outside_names() -> dict[str, list[str]]:
    """Return the names that installed packages add, as "backbone conv", by package; nothing is imported."""
    from importlib.metadata import distributions

    found: dict[str, list[str]] = {}
    for package in distributions():
        stated = [point for point in package.entry_points if point.group.startswith("brickwork.")]
        if stated:
            found[package.name] = sorted(f"{p.group.removeprefix('brickwork.')} {p.name}" for p in stated)
    return found


@cache
def _points(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points that installed packages declare in a group."""
    from importlib.metadata import (
        entry_points,
    )  # this import takes tens of milliseconds, and most programs never need it

    return tuple(entry_points(group=group))


def _makes(made: Any, config: object) -> bool:
    """Return True if a config is of the class that a partial makes, and agrees with its set arguments."""
    return (
        isinstance(made, partial)
        and made.func is type(config)
        and all(getattr(config, key) == value for key, value in made.keywords.items())
    )


def _called(made: Any) -> str:
    """Return the full name of a class, or of a partial's function, for messages."""
    made = made.func if isinstance(made, partial) else made
    return f"{made.__module__}.{made.__qualname__}"
