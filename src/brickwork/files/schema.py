"""The one reader of frozen configs: plain values of JSON, TOML or the command line, checked against type hints.

Every door has a :class:`Reader` that says how its values look and how its mistakes are reported; the rules are the same
for all. A whole number will do for a float, a bool for neither; texts, choices and bounds must be kept to the letter;
unknown and missing keys are named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache, partial
from math import inf, isnan
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, final, get_args, get_origin, get_type_hints

from brickwork.bounds import Bound, broken_rule
from brickwork.errors import MAX_SHOWN, BrickworkError, CheckpointError, ConfigError, short
from brickwork.registry import Registry, registry_with

MAX_DEPTH = 64
"""Most lists and tables in each other."""
MAX_NAME = 200
"""Most characters of a registered name in a file."""
_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "none"}
_WORDS: dict[type, Callable[[str], Any]] = {
    bool: lambda word: {"1": True, "true": True, "0": False, "false": False}[word.lower()],
    int: int,
    float: float,
    str: str,
}
"""The values that words of a command line stand for. A KeyError or ValueError means none."""


@final
@dataclass(frozen=True, kw_only=True)
class Reader:
    """A reader of plain values for one kind of place.

    Attributes:
        error: Class of its errors.
        form: Notation of the values. JSON has null, TOML has none, and words are texts that stand for values.
        subject: Start of its messages, as "its manifest"; "" where the caller says the place.
        noun: Name of a key, as "setting".
        mend: Advice that closes a message, as "copy or pack it again".
        newer: Advice for an unknown key, which a later version may have written.
    """

    error: type[BrickworkError]
    form: Literal["json", "toml", "word"]
    subject: str = ""
    noun: str = "field"
    mend: str = ""
    newer: str = ""

    def fields(self, config: Callable[..., Any], table: Any, path: str = "") -> dict[str, Any]:
        """Read the values of a table that are fields of a config; fields may be missing.

        Args:
            config: A dataclass, or a partial of one, whose set arguments are no fields.
            table: A table as JSON or TOML has it, or words by key.
            path: Place of the table, for messages.

        Raises:
            BrickworkError: Of the reader's class: an unknown key, or a value of a wrong type or out of its bounds.
        """
        self._check_plain(table, path)
        return self._fields(config, table, path)

    def config(self, config: Callable[..., Any], table: Any, path: str = "") -> Any:
        """Make a config of a table, as :meth:`fields` reads it; fields without a default must be there.

        Raises:
            BrickworkError: As of :meth:`fields`, or a missing key, or values that the config refuses.
        """
        self._check_plain(table, path)
        return self._config(config, table, path)

    def entry(self, registry: Registry[Any], entry: Any, path: str) -> Any:
        """Make the config that ``[name, fields]`` or ``[name, fields, package]`` says.

        Raises:
            BrickworkError: As of :meth:`config`.
            UnknownNameError: A name that a registry does not have.
            ExtensionError: The package that the config's class comes from is missing here.
        """
        self._check_plain(entry, path)
        return self._entry(registry, entry, path)

    def check_entry(self, entry: Any, path: str) -> None:
        """Refuse what is neither ``[name, fields]`` nor that with a package behind it, its fields unread."""
        whole = isinstance(entry, list) and len(entry) in (2, 3) and isinstance(entry[1], dict)
        if not (whole and all(isinstance(name, str) and len(name) <= MAX_NAME for name in entry[::2])):
            self._refuse(path, entry, "[name, fields]")

    def renamed(self, table: Any, names: Mapping[str, str], path: str = "") -> Any:
        """Return a table with the present keys in place of former ones, in the same order; what is no table stays.

        Args:
            table: A table as JSON or TOML has it.
            names: Present keys by former ones.
            path: Place of the table, for messages.

        Raises:
            BrickworkError: Of the reader's class: the table has a key by both names.
        """
        if not isinstance(table, Mapping):
            return table
        for former, present in names.items():
            if former in table and present in table:
                both = f"{_joined(path, former)} and {_joined(path, present)}"
                self._fail(f"{both}: they are the former and the present name of one {self.noun}; leave out the former")
        return {names.get(key, key): value for key, value in table.items()}

    # ---- each kind of value -------------------------------------------------------------------------------------

    def _entry(self, registry: Registry[Any], entry: Any, path: str) -> Any:
        self.check_entry(entry, path)
        name, values, *package = entry
        return self._config(registry.find(name, *package), values, path)

    def _config(self, config: Callable[..., Any], table: Any, path: str) -> Any:
        values = self._fields(config, table, path)
        if missing := sorted(_fields_of(config)[1] - values.keys()):
            self._fail("; ".join(filter(None, [f"{_joined(path, missing[0])} is missing", self.mend])))
        try:
            return config(**values)
        except (TypeError, ValueError, ArithmeticError) as error:
            self._refuse(path, table, f"what {_class_of(config).__name__} can be made of ({error})")

    def _fields(self, config: Callable[..., Any], table: Any, path: str) -> dict[str, Any]:
        hints = word_fields(config) if self.form == "word" else _fields_of(config)[0]
        if not isinstance(table, Mapping):
            self._refuse(path, table, _rule(_class_of(config)))
        for key in table:
            if key not in hints:
                near = get_close_matches(str(key)[:MAX_SHOWN], hints, n=3, cutoff=0.5)
                there = "" if self.newer else f"there are {', '.join(sorted(hints)) or 'none'}"
                hint = f"did you mean {', '.join(near)}?" if near else there
                said = f"no {self.noun} named {short(_joined(path, str(key)))}"
                self._fail("; ".join(filter(None, [said, self.newer, hint])))
        return {key: self._value(value, hints[key], _joined(path, key)) for key, value in table.items()}

    def _value(self, value: Any, hint: Any, path: str, rule: str = "") -> Any:
        """Read a value of a type hint; ``rule`` is that of the choice or bound around it."""
        origin, inner = get_origin(hint) or hint, get_args(hint)
        rule = rule or _rule(hint, null=self.form != "toml")
        if origin is Annotated:
            read = self._value(value, inner[0], path, rule)
            return self._refuse(path, value, rule) if broken_rule(read, hint) else read
        if origin in (Union, UnionType):
            return self._one_of(value, inner, path, rule)
        if origin is Literal:
            for choice in inner:
                if str(choice) == value if self.form == "word" else type(value) is type(choice) and value == choice:
                    return choice
            self._refuse(path, value, rule)
        if registry := registry_with(hint):
            return self._entry(registry, value, path)
        if isinstance(hint, type) and is_dataclass(hint):
            return self._config(hint, value, path)
        if origin in (tuple, list):
            return self._several(value, origin, inner, path, rule)
        if origin is dict and isinstance(value, dict):
            kind = inner[1] if inner else Any
            return {key: self._value(part, kind, _joined(path, key)) for key, part in value.items()}
        return value if hint is Any else self._scalar(value, hint, path, rule)

    def _one_of(self, value: Any, kinds: tuple[Any, ...], path: str, rule: str) -> Any:
        """Read a value of the first kind that takes it; the last one reports the mistake."""
        ordered = sorted(kinds, key=lambda kind: kind is not NoneType)
        for kind in ordered[:-1]:
            try:
                return self._value(value, kind, path, rule)
            except BrickworkError:
                continue
        return self._value(value, ordered[-1], path, rule)

    def _several(self, value: Any, kind: type, inner: tuple[Any, ...], path: str, rule: str) -> Any:
        """Read a list into a tuple or list."""
        if not isinstance(value, list | tuple):
            self._refuse(path, value, rule)
        fixed = kind is tuple and inner and inner[1:] != (...,)
        kinds = inner if fixed else (inner or (Any,))[:1] * len(value)
        if len(kinds) != len(value):
            self._refuse(path, value, rule)
        pairs = enumerate(zip(value, kinds, strict=True))
        return kind(self._value(part, each, f"{path}[{i}]") for i, (part, each) in pairs)

    def _scalar(self, value: Any, hint: Any, path: str, rule: str) -> Any:
        """Read a number, a text, true, false or none."""
        try:
            read = _WORDS[hint](value) if self.form == "word" else value
            read = float(read) if hint is float and type(read) is int else read
        except (KeyError, ValueError, OverflowError):
            self._refuse(path, value, rule)
        if type(read) is not hint or (hint is float and isnan(read)):
            self._refuse(path, value, rule)
        return read

    # ---- refusals -----------------------------------------------------------------------------------------------

    def _check_plain(self, value: Any, path: str, depth: int = 0) -> None:
        """Refuse values nested too deep, and numbers that JSON does not have."""
        if depth > MAX_DEPTH:
            self._refuse(path[:MAX_SHOWN], "[...]", f"at most {MAX_DEPTH} lists and tables in each other")
        if self.form == "json" and isinstance(value, float) and not -inf < value < inf:
            self._refuse(path, value, "a finite number")
        if isinstance(value, Mapping):
            for key, part in value.items():
                self._check_plain(part, _joined(path, str(key)), depth + 1)
        elif isinstance(value, list | tuple):
            for part in value:
                self._check_plain(part, path, depth + 1)

    def _refuse(self, path: str, value: Any, rule: str) -> NoReturn:
        place = f"{path} is {short(value)}" if path else short(value)
        self._fail("; ".join(filter(None, [f"{place}: it must be {rule}", self.mend])))

    def _fail(self, message: str) -> NoReturn:
        raise self.error(f"{self.subject}: {message}" if self.subject else message) from None


HEADER = Reader(
    error=CheckpointError, form="json", subject="the header", mend="copy or train it again", newer="upgrade brickwork"
)
"""Reader of the headers of model files."""
TOML = Reader(error=ConfigError, form="toml", noun="setting")
"""Reader of recipes."""


def from_entry(registry: Registry[Any], entry: Any, kind: str, reader: Reader = HEADER) -> Any:
    """Return the config that :func:`to_entry` wrote.

    Raises:
        BrickworkError: As of :meth:`Reader.entry`.
    """
    return reader.entry(registry, entry, kind)


def to_entry(registry: Registry[Any], config: Any) -> list[Any]:
    """Return a frozen config as ``[name, {field: value}]``, ready for JSON; nested configs become entries inside it.

    An entry of another package's class has a third element, the package.

    Raises:
        ExtensionError: The config's class is registered under no name.
    """
    name = registry.name_of(config)
    values = asdict(config)
    hints = get_type_hints(type(config))
    for field in fields(config):
        if nested := registry_with(hints[field.name]):
            values[field.name] = to_entry(nested, getattr(config, field.name))
    package = registry.package_of(name)
    return [name, values, package] if package else [name, values]


def word_fields(config: Callable[..., Any]) -> dict[str, Any]:
    """Return the fields of a config that one word can set, with their type hints."""
    return {name: hint for name, hint in _fields_of(config)[0].items() if _is_word(hint)}


def _rule(hint: Any, null: bool = True) -> str:
    """Return what a value of a type hint must be, for a person."""
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return ", ".join([_rule(inner[0], null), *(bound.rule for bound in inner[1:] if isinstance(bound, Bound))])
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin in (Union, UnionType):
        return " or ".join(_rule(kind, null) for kind in inner if null or kind is not NoneType)
    if origin in (tuple, list):
        return f"a list of {len(inner)}" if origin is tuple and inner and inner[1:] != (...,) else "a list"
    if registry_with(hint):
        return "[name, fields]"
    if isinstance(hint, type) and is_dataclass(hint):
        return f"a table of {', '.join(item.name for item in fields(hint))}"
    return _KINDS.get(hint, "a table" if origin is dict else str(hint))


def _is_word(hint: Any) -> bool:
    """Return True if a word can set a field of this type; one that may be None is set by what holds the config."""
    origin = get_origin(hint)
    return origin is Literal or (_is_word(get_args(hint)[0]) if origin is Annotated else hint in _WORDS)


def _class_of(config: Callable[..., Any]) -> Any:
    return config.func if isinstance(config, partial) else config


@cache
def _fields_of(config: Callable[..., Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the type hints of a config's open fields, and the names of those without a default."""
    kind = _class_of(config)
    fixed = config.keywords if isinstance(config, partial) else {}
    hints, known = get_type_hints(kind, include_extras=True), [item for item in fields(kind) if item.name not in fixed]
    needed = (item.name for item in known if item.default is MISSING and item.default_factory is MISSING)
    return {item.name: hints[item.name] for item in known}, frozenset(needed)


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
