"""Memory that is not there: an error of any library becomes one line with what was asked, and what there is."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brickwork.errors import MemoryLackError

_WORDS = re.compile(
    r"DefaultCPUAllocator|not enough memory|can't allocate|cannot allocate|out of memory|bad_?\s?alloc|"
    r"failed to allocate memory|storage size calculation overflowed",
    re.IGNORECASE,
)
"""Words of libraries that raise errors of no class of their own: PyTorch, ONNX Runtime, OpenVINO, the system."""
_VAGUE = re.compile(r"could not (create|execute) a (primitive|memory)", re.IGNORECASE)
"""Words of oneDNN, which names no reason: they are about memory where little is left."""
_LITTLE = 1e9
_LIBRARIES = ("onnxruntime", "openvino", "safetensors", "torch")
_BYTES = re.compile(r"allocate (\d+) bytes|buffer of size (\d+)")
_SIZE = re.compile(r"allocate ([\d.]+) ?([KMGT])i?B", re.IGNORECASE)
_FREE = re.compile(r"of which ([\d.]+) ([KMGT])i?B is free")


def is_memory_lack(error: BaseException) -> bool:
    """Return True for an error of any library that says that memory is not there."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    foreign = isinstance(error, RuntimeError) or type(error).__module__.partition(".")[0] in _LIBRARIES
    return foreign and bool(_WORDS.search(str(error)) or (_VAGUE.search(str(error)) and available() < _LITTLE))


@contextmanager
def within_memory(work: str, advice: str) -> Iterator[None]:
    """Turn errors inside the context that say that memory is not there into one line; others come through.

    Args:
        work: What needs the memory, as "training".
        advice: Settings to lower, as "lower batch".

    Raises:
        MemoryLackError: With what was asked, what there is, and the advice.
    """
    try:
        yield
    except Exception as error:
        if not is_memory_lack(error):
            raise
        raise MemoryLackError(f"{work}: there is not enough memory{_figures(str(error))}; {advice}") from error


def _figures(said: str) -> str:
    """Return what an error says was asked, and what there is."""
    asked, free = _asked(said), _sized(_FREE.search(said)) or available()
    parts = [f"{_shown(asked)} more were asked for" if asked else "", f"{_shown(free)} are free" if free else ""]
    told = ", ".join(filter(None, parts))
    return f" ({told})" if told else ""


def _asked(said: str) -> float:
    if match := _BYTES.search(said):
        return float(match[1] or match[2])
    return _sized(_SIZE.search(said))


def _sized(match: re.Match[str] | None) -> float:
    return float(match[1]) * 1024 ** (1 + "KMGT".index(match[2].upper())) if match else 0.0


def _shown(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"


def available() -> float:
    """Return the bytes that this process may still have; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0.0
    import resource

    try:
        free = 1024.0 * int(re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[1])  # pyright: ignore[reportOptionalSubscript]
        used = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, TypeError, ValueError):
        return 0.0
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return free if limit == resource.RLIM_INFINITY else min(free, max(0.0, limit - used))
