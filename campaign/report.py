"""Counts of outcomes by subject, as a table and as JSON."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, final

from campaign.trial import KINDS, Outcome

WIDTH = 30


@final
class Counts:
    """Counts of one campaign.

    Args:
        seed: Seed of the campaign.
        folder: Folder of the summary and of the kept inputs.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        self.table: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: dict[str, float] = {}
        self.found: dict[tuple[str, ...], dict[str, Any]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        print(f"seed {seed}\n{'':<{WIDTH}}" + "".join(f"{kind:>10}" for kind in KINDS) + f"{'seconds':>9}", flush=True)

    def add(self, subject: str, outcome: Outcome, number: int | str) -> bool:
        """Count an outcome; return True for the first one of a fault."""
        self.table[subject][outcome.kind] += 1
        if not outcome.is_fault:
            return False
        key = (subject, *outcome.signature)
        first = key not in self.found
        fact = {"number": number, "line": outcome.line, "text": outcome.text, "count": 0}
        self.found.setdefault(key, fact)["count"] += 1
        if first:
            print(f"  fault in {subject}:{number}: {outcome.kind}, {outcome.line[:200]} [{outcome.where}]", flush=True)
        return first

    def broken(self, subject: str, line: str) -> None:
        """Count a subject that could not be tried at all."""
        self.add(subject, Outcome("traceback", line, "valid input"), "valid")

    def row(self, subject: str, seconds: float) -> None:
        """Print a subject's row."""
        self.seconds[subject] = seconds
        numbers = "".join(f"{self.table[subject][kind] or '':>10}" for kind in KINDS)
        print(f"{subject:<{WIDTH}}{numbers}{seconds:>9.1f}", flush=True)

    @property
    def faults(self) -> int:
        """Number of inputs that met a fault."""
        return sum(fact["count"] for fact in self.found.values())

    def write(self) -> None:
        """Print the sums, and write all of it as JSON."""
        total: Counter[str] = sum(self.table.values(), Counter())
        self.table["all"] = total
        self.row("all", sum(self.seconds.values()))
        facts = [{"subject": s, "kind": k, "where": w, **fact} for (s, k, w), fact in self.found.items()]
        summary = {"seed": self.seed, "counts": self.table, "seconds": self.seconds, "faults": facts}
        (self.folder / "summary.json").write_text(json.dumps(summary, indent=1))
        print(f"{self.faults} faults of {len(self.found)} kinds; {self.folder}/summary.json", flush=True)
