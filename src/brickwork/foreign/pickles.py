"""Pickles read as data: their opcodes are followed on a stack, and nothing that they name is imported, built or called.

A class or function that a pickle names becomes a :class:`Global`, two strings; a call becomes a :class:`Record` of its
arguments and state. Only names in a caller's table of constructors, all of them functions of brickwork, make anything
else. Byte strings stay slices of the file.

A hostile file's cost is bounded: by a budget of opcodes, copies and text, and because nothing here recurses, keeps a
dict key other than text and whole numbers, or prints more than a few characters of the file.

Source of the opcodes: ``pickletools`` of the standard library, whose table gives their names and arguments.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from brickwork.errors import CheckpointError

MAX_OPERATIONS = 1_000_000
"""Opcodes, copied items and entries of one file; the largest published networks have about a hundred thousand. As each
makes a few hundred bytes at most, they bound the memory too.
"""
MAX_TEXT = 16 * 2**20
"""Bytes of text and numbers of one file, all together."""
MAX_LINE = 4096
MAX_WHOLE = 16
"""Bytes of the longest whole number."""


@dataclass(frozen=True)
class Global:
    """Name of a class or function in a pickle; never looked up."""

    module: str
    name: str


@dataclass(eq=False, repr=False, slots=True)
class Record:
    """Record of a call of ``kind`` that is not made: its arguments, state, items and entries."""

    kind: Any
    args: Any
    state: Any = None
    items: dict[str | int, Any] = field(default_factory=dict)
    entries: list[Any] = field(default_factory=list)


@dataclass
class Budget:
    """Budget left for one file, over all pickles and archives in it."""

    operations: int = MAX_OPERATIONS
    text: int = MAX_TEXT

    def step(self, count: int = 1) -> None:
        """Spend an opcode, or so many copied items or entries; raises CheckpointError where fewer are left."""
        self.operations -= count
        if self.operations < 0:
            raise CheckpointError(f"it has more than {MAX_OPERATIONS:,} opcodes and copies: no network needs as many")

    def read(self, text: int) -> None:
        """Spend so many bytes of text; raises CheckpointError where fewer are left."""
        self.text -= text
        if self.text < 0:
            raise CheckpointError(f"it has more than {MAX_TEXT // 2**20} MiB of text: no network needs as much")


Constructor = Callable[[tuple[Any, ...]], Any]
"""A function of brickwork that is called with the arguments that a pickle passes to a name."""
Constructors = Mapping[tuple[str, str], Constructor]


def quote(text: object) -> str:
    """Quote a value of the file for a message: on one line, printable, at most 80 characters."""
    shown = repr(text) if isinstance(text, str | int | float) else f"a {type(text).__name__}"
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def fill(target: dict[str | int, Any], pairs: Iterable[tuple[Any, Any]]) -> None:
    """Set items; leave out keys other than text and whole numbers, under which no weights are found."""
    for key, value in pairs:
        if type(key) is str or (type(key) is int and abs(key) < 2**63):
            target[key] = value


class Machine:
    """Stack machine that follows one pickle.

    Args:
        view: The bytes.
        constructors: Functions by (module, name); calls of other names become Records.
        persistent: Returns the value of a persistent id, or raises.
        budget: Opcodes and text that may be spent.
    """

    def __init__(
        self, view: memoryview, constructors: Constructors, persistent: Callable[[Any], Any], budget: Budget
    ) -> None:
        self.view, self.constructors, self.persistent, self.budget = view, constructors, persistent, budget
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, start: int) -> tuple[Any, int]:
        """Return the object of the pickle that begins at ``start``, and the place of the first byte after it.

        Raises:
            CheckpointError: It is no pickle, truncated, or over the budget.
        """
        self.at = start
        while True:
            begin = self.at
            op = _OPCODES.get(chr(self.take(1)[0]))
            if op is None:
                raise CheckpointError(
                    f"byte {begin} is no opcode: it is no pickle, or a damaged one; download it again"
                )
            self.budget.step()
            argument = self.argument(op)
            if op.name == "STOP":
                return self.pop(), self.at
            if op.name in _VALUES:
                try:
                    self.push(_VALUES[op.name](argument))
                except (ValueError, struct.error):
                    raise CheckpointError(
                        f"opcode {op.name} at byte {begin} has no valid argument: it is damaged; download it again"
                    ) from None
            else:
                _ACTIONS[op.name](self, argument)

    # ---- the file ---------------------------------------------------------------------------------------------------

    def take(self, count: int) -> memoryview:
        """Take the next bytes, uncopied."""
        begin, self.at = self.at, self.at + count
        if count < 0 or self.at > len(self.view):
            raise CheckpointError(f"it is not whole: it ends within what began at byte {begin}; download it again")
        return self.view[begin : self.at]

    def line(self) -> memoryview:
        """Take the bytes before the next newline."""
        begin = self.at
        length = bytes(self.view[begin : begin + MAX_LINE]).find(b"\n")
        if length < 0:
            raise CheckpointError(
                f"the line at byte {begin} does not end: it is no pickle, or not whole; download it again"
            )
        self.at += length + 1
        self.budget.read(length)
        return self.view[begin : begin + length]

    def argument(self, op: pickletools.OpcodeInfo) -> memoryview:
        """Take an opcode's argument, as bytes; the first one if it has two lines."""
        length = op.arg.n if op.arg else 0
        if length == pickletools.UP_TO_NEWLINE:
            return self.line()
        if length < 0:
            length = int.from_bytes(self.take(_LENGTHS[length]), "little")
        if op.name not in _BYTES:
            self.budget.read(length)
        return self.take(length)

    # ---- the stack --------------------------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        """Put a value on the current stack; each mark starts a new one."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the top of the stack."""
        if not self.stack:
            raise CheckpointError(f"its stack is empty at byte {self.at}: it is damaged; download it again")
        return self.stack.pop()

    def top(self) -> Any:
        """Return the top of the stack, which stays."""
        self.push(value := self.pop())
        return value

    def pop_mark(self) -> list[Any]:
        """Take everything above the last mark, and the mark."""
        if not self.marks:
            raise CheckpointError(f"it lacks a mark at byte {self.at}: it is damaged; download it again")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def recall(self, index: int) -> None:
        """Push the value that was remembered under a number."""
        if index not in self.memo:
            raise CheckpointError(f"it recalls what it never kept, at byte {self.at}: it is damaged; download it again")
        self.push(self.memo[index])

    # ---- making things ----------------------------------------------------------------------------------------------

    def name(self, module: Any, name: Any) -> None:
        """Push the Global of a module and a name, both text."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise CheckpointError(
                f"it names something by other than text, at byte {self.at}: it is damaged; download it again"
            )
        self.push(Global(module, name))

    def make(self, kind: Any, args: Any) -> None:
        """Push the result of the constructor of ``kind``; a Record where there is none."""
        named = isinstance(kind, Global) and isinstance(args, tuple)
        constructor = self.constructors.get((kind.module, kind.name)) if named else None
        self.push(Record(kind, args) if constructor is None else constructor(args))

    def make_of_two(self, argument: memoryview) -> None:
        """Make an object (REDUCE, NEWOBJ): the arguments are on top, the callable below them."""
        args = self.pop()
        self.make(self.pop(), args)

    def make_of_marked(self, argument: memoryview) -> None:
        """Make an object (OBJ): class and arguments follow the mark."""
        kind, *args = self.pop_mark() or [None]
        self.make(kind, tuple(args))

    def make_named(self, argument: memoryview) -> None:
        """Make an object (INST): the class is in two lines, its arguments follow the mark."""
        self.name(_latin(argument), _latin(self.line()))
        kind = self.pop()
        self.make(kind, tuple(self.pop_mark()))

    def make_with_keywords(self, argument: memoryview) -> None:
        """Make a Record (NEWOBJ_EX) of class, arguments and keyword arguments."""
        keywords, args = self.pop(), self.pop()
        self.push(Record(self.pop(), (args, keywords)))

    def set_state(self, argument: memoryview) -> None:
        """Set the state (BUILD) of a Record; objects of brickwork's constructors need none."""
        state, target = self.pop(), self.top()
        if isinstance(target, Record):
            target.state = state

    def set_items(self, items: list[Any]) -> None:
        """Set items (SETITEM, SETITEMS) of the object on top, from keys and values in turn."""
        target = self.top()
        target = target.items if isinstance(target, Record) else target
        if not isinstance(target, dict) or len(items) % 2:
            raise CheckpointError(
                f"it sets items of what has none, at byte {self.at}: it is damaged; download it again"
            )
        fill(target, zip(items[::2], items[1::2], strict=True))

    def extend(self, items: list[Any]) -> None:
        """Extend (APPEND, APPENDS, ADDITEMS) the list on top."""
        target = self.top()
        target = target.entries if isinstance(target, Record) else target
        if not isinstance(target, list):
            raise CheckpointError(f"it appends to what is no list, at byte {self.at}: it is damaged; download it again")
        target.extend(items)

    def push_dict(self, argument: memoryview) -> None:
        """Push a dict (DICT) of the keys and values above the mark."""
        items = self.pop_mark()
        self.push({})
        self.set_items(items)

    def mark(self, argument: memoryview) -> None:
        """Set a mark (MARK): lay the current stack aside and start a new one."""
        self.marks.append(self.stack)
        self.stack = []

    def drop(self, argument: memoryview) -> None:
        """Drop the top value (POP), or the mark if the stack above it is empty."""
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def drop_marked(self, argument: memoryview) -> None:
        """Drop everything above the last mark, and the mark (POP_MARK)."""
        self.pop_mark()

    def push_tuple(self, count: int) -> None:
        """Push a tuple of the topmost values (TUPLE1, TUPLE2, TUPLE3)."""
        items = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def keep(self, index: int) -> None:
        """Remember the top of the stack under a number."""
        self.memo[index] = self.top()

    def named_by_stack(self, argument: memoryview) -> None:
        """Push a Global (STACK_GLOBAL) of the module and name on the stack."""
        name = self.pop()
        self.name(self.pop(), name)

    def check_protocol(self, argument: memoryview) -> None:
        """Refuse a pickle protocol above 5 (PROTO)."""
        if argument[0] > 5:
            raise CheckpointError(
                f"it is of pickle protocol {argument[0]}; protocols up to 5 are known: save it again with one of them"
            )


def _signed(argument: memoryview) -> int:
    if len(argument) > MAX_WHOLE:
        raise ValueError
    return int.from_bytes(argument, "little", signed=True)


def _unsigned(argument: memoryview) -> int:
    return int.from_bytes(argument, "little")


def _decimal(argument: memoryview) -> int | bool:
    """Parse a number of the text protocol: 00 and 01 are False and True, and an L may follow digits."""
    text = _latin(argument)
    if len(text) > 2 * MAX_WHOLE:
        raise ValueError
    return {"00": False, "01": True}[text] if text in ("00", "01") else int(text.rstrip("L"))


def _latin(argument: memoryview) -> str:
    return bytes(argument).decode("latin-1")


def _utf8(argument: memoryview) -> str:
    return bytes(argument).decode("utf-8", "surrogatepass")


def _quoted(argument: memoryview) -> str:
    """Return Python 2's text between quotes; escapes stay as they are written."""
    text = bytes(argument)
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise ValueError
    return text[1:-1].decode("latin-1")


def _index(argument: memoryview) -> int:
    text = _latin(argument)
    if not text.isdecimal() or len(text) > 10:
        raise CheckpointError(
            f"it keeps something under {quote(text)}, which is no number: it is damaged; download it again"
        )
    return int(text)


def _forbidden(what: str) -> Callable[[Machine, memoryview], None]:
    def act(machine: Machine, argument: memoryview) -> None:
        raise CheckpointError(f"it uses {what}, at byte {machine.at}: nothing outside the file is read")

    return act


_OPCODES = {op.code: op for op in pickletools.opcodes}
_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}  # bytes of an argument's length
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")

_VALUES: dict[str, Callable[[memoryview], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "EMPTY_SET": lambda _: [],  # sets are kept as lists, so that nothing is hashed
    "INT": _decimal,
    "LONG": _decimal,
    "BININT": _signed,
    "BININT1": _unsigned,
    "BININT2": _unsigned,
    "LONG1": _signed,
    "LONG4": _signed,
    "FLOAT": lambda argument: float(_latin(argument)),
    "BINFLOAT": lambda argument: struct.unpack(">d", argument)[0],
    "STRING": _quoted,
    "BINSTRING": _latin,
    "SHORT_BINSTRING": _latin,
    "UNICODE": lambda argument: bytes(argument).decode("raw-unicode-escape"),
    "SHORT_BINUNICODE": _utf8,
    "BINUNICODE": _utf8,
    "BINUNICODE8": _utf8,
    **dict.fromkeys(_BYTES, lambda argument: argument),
}

_ACTIONS: dict[str, Callable[[Machine, memoryview], None]] = {
    "PROTO": Machine.check_protocol,
    "FRAME": lambda machine, _: None,
    "MARK": Machine.mark,
    "POP": Machine.drop,
    "POP_MARK": Machine.drop_marked,
    "DUP": lambda machine, _: machine.push(machine.top()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_mark())),
    "TUPLE1": lambda machine, _: machine.push_tuple(1),
    "TUPLE2": lambda machine, _: machine.push_tuple(2),
    "TUPLE3": lambda machine, _: machine.push_tuple(3),
    "LIST": lambda machine, _: machine.push(machine.pop_mark()),
    "FROZENSET": lambda machine, _: machine.push(machine.pop_mark()),
    "DICT": Machine.push_dict,
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_mark()),
    "ADDITEMS": lambda machine, _: machine.extend(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "PUT": lambda machine, argument: machine.keep(_index(argument)),
    "BINPUT": lambda machine, argument: machine.keep(_unsigned(argument)),
    "LONG_BINPUT": lambda machine, argument: machine.keep(_unsigned(argument)),
    "MEMOIZE": lambda machine, _: machine.keep(len(machine.memo)),
    "GET": lambda machine, argument: machine.recall(_index(argument)),
    "BINGET": lambda machine, argument: machine.recall(_unsigned(argument)),
    "LONG_BINGET": lambda machine, argument: machine.recall(_unsigned(argument)),
    "GLOBAL": lambda machine, argument: machine.name(_latin(argument), _latin(machine.line())),
    "STACK_GLOBAL": Machine.named_by_stack,
    "REDUCE": Machine.make_of_two,
    "NEWOBJ": Machine.make_of_two,
    "NEWOBJ_EX": Machine.make_with_keywords,
    "OBJ": Machine.make_of_marked,
    "INST": Machine.make_named,
    "BUILD": Machine.set_state,
    "PERSID": lambda machine, argument: machine.push(machine.persistent(_latin(argument))),
    "BINPERSID": lambda machine, _: machine.push(machine.persistent(machine.pop())),
    "EXT1": _forbidden("the extension registry of Python"),
    "EXT2": _forbidden("the extension registry of Python"),
    "EXT4": _forbidden("the extension registry of Python"),
    "NEXT_BUFFER": _forbidden("a buffer kept elsewhere"),
    "READONLY_BUFFER": _forbidden("a buffer kept elsewhere"),
}
