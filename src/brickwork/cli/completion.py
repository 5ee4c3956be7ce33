"""Verb ``brickwork completion``: a script with which a shell completes verbs, options, their choices and names.

It is made from the verbs' own pages of help, whatever parser prints them: tyro's scripts know neither verbs that are
imported when used nor positional words, such as presets.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from brickwork.cli import run_verb
from brickwork.cli.list_ import ROWS
from brickwork.cli.page import EVERYWHERE, UNFOLD
from brickwork.cli.verbs import VERBS
from brickwork.files.recipes import recipe_names

SHARED = ("--help", UNFOLD, *re.findall(r"--\w+", " ".join(EVERYWHERE)))
"""Options of every verb."""
OFFERS = {**ROWS, "autoencoders": recipe_names("autoencoder"), "kinds": tuple(ROWS)}
"""Names that may follow verbs, by what ``Verb.offers`` calls them."""


@dataclass(frozen=True)
class Words:
    """Words that may follow a verb."""

    options: Mapping[str, tuple[str, ...] | None]
    """Choices of each option; none where any word will do, and None where no word follows."""
    names: tuple[str, ...]
    """Words that are no options."""


def print_completion(shell: Positional[Annotated[Literal["bash", "zsh", "fish"], arg(metavar="SHELL")]]) -> None:
    """Print a script that completes words in a shell.

    Put `eval "$(brickwork completion bash)"` into ~/.bashrc, the same with zsh into ~/.zshrc, or
    `brickwork completion fish | source` into ~/.config/fish/config.fish. It knows verbs, options, choices, presets,
    recipes and shipped models; options of `train` are those of stoic-tiny.

    Args:
        shell: bash, zsh or fish.
    """
    known = {name: words_of(name) for name in VERBS}
    known["help"] = Words({}, tuple(VERBS))
    print(_fish(known) if shell == "fish" else _bash(known, zsh=shell == "zsh"))


def words_of(name: str) -> Words:
    """Return the words that may follow a verb."""
    verb, page = VERBS[name], io.StringIO()
    with redirect_stdout(page), suppress(SystemExit):
        run_verb(name, [*verb.first, UNFOLD])
    return Words(options_in(page.getvalue()), tuple(word for row in verb.offers for word in OFFERS.get(row, (row,))))


def options_in(page: str) -> dict[str, tuple[str, ...] | None]:
    """Return the options on a page of help, and their choices, as ``Words.options`` holds them."""
    entries: list[str] = []
    for line in page.splitlines():
        if line.startswith("  -"):
            entries.append(line[2:].partition("  ")[0])
        elif re.match(r"  \S", line) and entries:
            entries[-1] += f" {line[2:].partition('  ')[0]}"  # names and choices that go on in the next line
    found: dict[str, tuple[str, ...] | None] = {}
    for entry in entries:
        for part in re.split(r", +(?=-)", entry):
            flag, _, word = part.partition(" ")
            if flag.startswith("--") and flag not in SHARED:
                found[flag] = _choices(word) if word else None
    return found


def _choices(word: str) -> tuple[str, ...]:
    """Return the names in a word such as {a,b}[:N]; none of another one."""
    listed = re.search(r"\{([^{}]*,[^{}]*)\}", word)
    return tuple(listed[1].replace(" ", "").split(",")) if listed else ()


def _first_words() -> dict[str, list[str]]:
    """Return the first words of verbs, and the second ones of those that have two."""
    found: dict[str, list[str]] = {}
    for name in (*VERBS, "help"):
        first, _, second = name.partition(" ")
        found.setdefault(first, []).extend([second] if second else [])
    return found


BASH = """\
_brickwork() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" verb="" words="" place=1
  while (( place < COMP_CWORD )); do
    case "$verb/${{COMP_WORDS[place]}}" in
      */-*) ;;
      /*) verb="${{COMP_WORDS[place]}}" ;;
{groups}
    esac
    place=$(( place + 1 ))
  done
  case "$verb/$prev" in
{choices}
    *)
      case "$verb/$cur" in
        /*) words="{first}" ;;
{verbs}
      esac
      ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o bashdefault -o default -F _brickwork brickwork"""


def _bash(known: Mapping[str, Words], *, zsh: bool) -> str:
    """Return the script for bash, or for zsh, which runs it by its own emulation."""
    first = _first_words()
    groups = [f'      {name}/{part}) verb="{name} {part}" ;;' for name, parts in first.items() for part in parts]
    choices = [
        f'    "{name}/{flag}") words="{" ".join(words)}" ;;'
        for name, verb in known.items()
        for flag, words in verb.options.items()
        if words is not None
    ]
    verbs = [f'        {name}/*) words="{" ".join(parts)}" ;;' for name, parts in first.items() if parts]
    for name, verb in known.items():
        verbs.append(f'        "{name}"/-*) words="{" ".join([*verb.options, *SHARED])}" ;;')
        verbs.append(f'        "{name}"/*) words="{" ".join(verb.names)}" ;;')
    script = BASH.format(
        groups="\n".join(groups), choices="\n".join(choices), first=" ".join(first), verbs="\n".join(verbs)
    )
    return f"autoload -U +X bashcompinit && bashcompinit\n{script}" if zsh else script


FISH = """\
function __brickwork_verb
  set -l words (string match -v -- '-*' (commandline -opc))[2..]
  if contains -- "$words[1] $words[2]" {pairs}
    echo "$words[1] $words[2]"
  else
    echo $words[1]
  end
end
"""


def _fish(known: Mapping[str, Words]) -> str:
    """Return the script for fish."""
    pairs = " ".join(f"'{name}'" for name in VERBS if " " in name)
    lines = [FISH.format(pairs=pairs or "''")]
    for first, parts in _first_words().items():
        lines.append(_fish_line("", f"-f -a {first}", VERBS[first].line if first in VERBS else ""))
        lines += [_fish_line(first, f"-f -a {part}", VERBS[f"{first} {part}"].line) for part in parts]
    for name, verb in known.items():
        lines += [_fish_line(name, f"-f -a '{word}'") for word in verb.names]
        for flag, words in verb.options.items():
            lines.append(
                _fish_line(
                    name,
                    f"-l {flag[2:]}" + ("" if words is None else f" -x -a '{' '.join(words)}'" if words else " -r"),
                )
            )
        lines += [_fish_line(name, f"-l {flag[2:]}") for flag in SHARED]
    return "\n".join(lines)


def _fish_line(verb: str, rule: str, line: str = "") -> str:
    """Return a rule that holds behind a verb."""
    said = f" -d '{line}'" if line else ""
    return f"""complete -c brickwork -n "test (__brickwork_verb) = '{verb}'" {rule}{said}"""
