"""The processor's own counters, on a tree as Linux shows it."""

from pathlib import Path

import pytest

from brickwork.speed.energy import Energy

PERIOD = 262_143_328_850


def zone(folder: Path, name: str, title: str, microjoules: int) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    (place / "name").write_text(f"{title}\n")
    (place / "max_energy_range_uj").write_text(f"{PERIOD}\n")
    (place / "energy_uj").write_text(f"{microjoules}\n")
    return place


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 3_000_000)  # a part of the package
    zone(tmp_path, "intel-rapl:1", "package-1", 7_000_000)
    zone(tmp_path, "intel-rapl:2", "psys", 90_000_000)  # the whole board, packages among it
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 5_000_000)  # package 0 by another way
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def test_packages_are_added_and_nothing_is_counted_twice(powercap: Path) -> None:
    energy = Energy.find(powercap)
    before = energy.read()
    assert before == (5_000_000, 7_000_000)
    (powercap / "intel-rapl:0" / "energy_uj").write_text("6500000\n")
    (powercap / "intel-rapl:1" / "energy_uj").write_text("7250000\n")
    assert energy.joules(before, energy.read()) == 1.75
    assert energy.why == ""


def test_a_counter_that_began_again(powercap: Path) -> None:
    energy = Energy.find(powercap)
    assert energy.joules((PERIOD - 400_000, 10), (600_000, 10)) == pytest.approx(1.0, rel=1e-12)


def test_no_counters(tmp_path: Path) -> None:
    energy = Energy.find(tmp_path / "powercap")
    assert energy.why == f"no processor shows its energy under {tmp_path / 'powercap'}"
    assert energy.read() == ()
    assert energy.joules((), ()) is None


def test_counters_that_only_root_may_read(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def refused(path: Path, *arguments: str) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *arguments)

    monkeypatch.setattr(Path, "read_text", refused)
    energy = Energy.find(powercap)
    assert energy.why.endswith("energy_uj is for root alone")
    assert energy.joules(energy.read(), energy.read()) is None


def test_a_counter_that_is_no_number(powercap: Path) -> None:
    (powercap / "intel-rapl:1" / "energy_uj").write_text("soon\n")
    energy = Energy.find(powercap)
    assert energy.zones == ()
    assert "cannot be read" in energy.why
