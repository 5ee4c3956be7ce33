"""Pages of help: under 80 columns and 100 lines, with examples; rare groups of options are folded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import TextWrapper, wrap

WIDTH = 79
"""Most columns of a line of help."""
LONGEST = 99
"""Most lines of a page; a longer one is folded."""
UNFOLD = "--help-all"
"""Option that prints a page with all groups of options."""
HELP = frozenset({"-h", "--help", UNFOLD})
"""Options that print a page."""
EVERYWHERE = (
    "Every verb also takes:",
    "  -q, --quiet    print results and errors only: no bars, no remarks",
    "  -v, --verbose  also print versions, the value of every option, and the time",
)
"""Last lines of every page: the options that all verbs share."""
NO_DEFAULT = re.compile(r"\s*\(default:(\s+(None|''))?\s*\)")
MANY = re.compile(r"\[(\S+)\s+\[\1\s+\.\.\.\]\]")
FIRST = ("positional arguments:", "options:")
"""Titles of the groups that are never folded."""
RULE = re.compile(r"\s*-{3,}")
TITLE = re.compile(r" ([a-z].*)|([a-z][a-z ]*):")
"""Title of a group, of tyro or of argparse."""


def page(printed: str, description: str, examples: Sequence[str], *, whole: bool = False) -> str:
    """Return a page of help from the parser's own.

    Args:
        printed: Usage, then groups of options, as argparse prints them, or tyro on a terminal of ASCII; without a
            description.
        description: Paragraphs about the verb, with an empty line between them; indented lines stay as they are.
        examples: Commands.
        whole: Keep all groups of options, however long the page is.
    """
    usage, groups = _parts(MANY.sub(r"\1 ...", NO_DEFAULT.sub("", printed)))
    head = wrap(" ".join(usage), WIDTH, subsequent_indent=" " * 7, break_on_hyphens=False)
    head += [*_paragraphs(description), "", *examples_of(examples)]
    lines = [*head, *(line for group in groups for line in group), "", *EVERYWHERE]
    return "\n".join(lines if whole or len(lines) <= LONGEST else _folded(head, groups))


def _folded(head: Sequence[str], groups: Sequence[list[str]]) -> list[str]:
    """Return a page that names the groups behind the first, and the last options of the first if that is too long."""
    kept = [group for group in groups if group[1] in FIRST]
    away = [f"{group[1].removesuffix(' options:')} ({_count(group)})" for group in groups if group not in kept]
    hidden: list[str] = []
    while True:
        known = f"{', '.join(hidden)} and the options of" if hidden else "the options of"
        told = wrap(f"{UNFOLD} also lists {known}: {', '.join(away)}.", WIDTH, break_on_hyphens=False)
        lines = [*head, *(line for group in kept for line in group), "", *told, "", *EVERYWHERE]
        if len(lines) <= LONGEST:
            return lines
        hidden.insert(0, _without_last(kept[-1]))


def _without_last(group: list[str]) -> str:
    """Remove the last option of a group, and return its name."""
    place = max(number for number, line in enumerate(group) if line.startswith("  -"))
    name = group[place].split()[0].rstrip(",")
    del group[place:]
    return name


def examples_of(commands: Sequence[str]) -> list[str]:
    """Return commands as the lines of a page, the long ones over several."""
    lines = TextWrapper(WIDTH - 4, subsequent_indent="      ", break_long_words=False, break_on_hyphens=False)
    return [
        "Examples:" if len(commands) > 1 else "Example:",
        *(f"  {part}" for c in commands for part in _command(c, lines)),
    ]


def _command(command: str, lines: TextWrapper) -> list[str]:
    """Return the lines of one command, which a shell reads as one."""
    parts = lines.wrap(command)
    return [*(f"{part} \\" for part in parts[:-1]), *parts[-1:]]


def _parts(printed: str) -> tuple[list[str], list[list[str]]]:
    """Return the usage, and each group of options as an empty line, a title and indented lines."""
    usage: list[str] = []
    groups: list[list[str]] = []
    for line in printed.splitlines():
        text = line.rstrip()
        if title := TITLE.fullmatch(text):
            groups.append(["", f"{title[1] or title[2]}:"])
        elif text and not RULE.fullmatch(text):
            (groups[-1] if groups else usage).append(text)
    return usage, groups


def _paragraphs(text: str) -> list[str]:
    """Return paragraphs, wrapped, each behind an empty line; what is indented stays as it is."""
    lines: list[str] = []
    for paragraph in text.strip("\n").split("\n\n"):
        lines.append("")
        plain = not paragraph.startswith(" ")
        lines.extend(
            wrap(" ".join(paragraph.split()), WIDTH, break_on_hyphens=False) if plain else paragraph.splitlines()
        )
    return lines


def _count(group: Sequence[str]) -> int:
    """Return the number of options in a group."""
    return sum(line.startswith("  --") for line in group)
