"""The page that lists every verb, by what it is for."""

from __future__ import annotations

from brickwork.cli.page import EVERYWHERE, examples_of
from brickwork.cli.verbs import GROUPS, VERBS

HEAD = (
    "usage: brickwork VERB [options]",
    "",
    "Train image-diffusion models, draw with them, and put them on devices.",
    "",
    *examples_of(["brickwork sample digits --label 3 --seed 0 --out three.png"]),
)
FOOT = (
    "",
    "`brickwork help VERB` and `brickwork VERB --help` explain a verb.",
    "`brickwork --version` prints the version.",
)


def overview() -> list[str]:
    """Return the lines of the page."""
    lines = [*HEAD]
    for group in GROUPS:
        lines += ["", f"{group}:", *rows_of(group=group)]
    return [*lines, *FOOT, "", *EVERYWHERE]


def rows_of(name: str = "", *, group: str = "") -> list[str]:
    """Return a row for each verb whose name begins with a word, or that is in a group."""
    found = [known for known, verb in VERBS.items() if verb.group == group or (name and known.startswith(f"{name} "))]
    width = max(map(len, VERBS))
    return [f"  {known:<{width}}  {VERBS[known].line}" for known in found]
