"""A server of packages for the length of a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brickwork.device.serve import server


@contextmanager
def serving(*folders: Path, port: int = 0) -> Iterator[str]:
    """Serve folders for a while; gives the address."""
    opened = server(folders, port=port)
    thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://localhost:{opened.server_port}/"
    finally:
        opened.shutdown()
        opened.server_close()
        thread.join()
