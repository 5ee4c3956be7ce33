"""Energy that the processor itself counts, where Linux exposes it: RAPL under ``/sys/class/powercap``.

It covers whole processor packages: other programs and idle time are included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

POWERCAP = Path("/sys/class/powercap")


@final
@dataclass(frozen=True)
class Zone:
    """A counter of one processor package.

    Attributes:
        file: Holds microjoules counted from an arbitrary start.
        period: Value at which the counter returns to 0.
    """

    file: Path
    period: int


@final
@dataclass(frozen=True)
class Energy:
    """The processor's energy counters.

    Attributes:
        zones: The counters; None where nothing can be read.
        why: Reason that nothing can be read; "" where something can.
    """

    zones: tuple[Zone, ...] = ()
    why: str = ""

    @classmethod
    def find(cls, folder: Path = POWERCAP) -> Energy:
        """Find the counters of this machine.

        Zones within a package ("intel-rapl:0:1") are part of it, "intel-rapl-mmio:0" is the same one again and "psys"
        the whole board: none of them is added.
        """
        zones = []
        for place in sorted(folder.glob("intel-rapl:*")):
            if place.name.count(":") > 1:
                continue
            try:
                if not (place / "name").read_text().startswith("package"):
                    continue
                zone = Zone(place / "energy_uj", int((place / "max_energy_range_uj").read_text()))
                int(zone.file.read_text())
            except PermissionError:
                return cls(why=f"{place / 'energy_uj'} is for root alone")
            except (OSError, ValueError) as error:
                return cls(why=f"{place} cannot be read ({error})")
            zones.append(zone)
        return cls(tuple(zones), "" if zones else f"no processor shows its energy under {folder}")

    def read(self) -> tuple[int, ...]:
        """Read the microjoules of each zone, counted from an arbitrary start."""
        return tuple(int(zone.file.read_text()) for zone in self.zones)

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float | None:
        """Return the joules between two readings; a counter may have wrapped once. None without counters."""
        if not self.zones:
            return None
        used = (
            (b - a) if b >= a else (b + zone.period - a) for zone, a, b in zip(self.zones, before, after, strict=True)
        )
        return sum(used) / 1e6
