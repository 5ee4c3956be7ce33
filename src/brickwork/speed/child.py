"""One measured subject in a process of its own, which answers in lines of JSON; see ``brickwork.device.timing``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from typing import Any, final

from brickwork.errors import PackageError
from brickwork.speed.subjects import Subject

PATIENCE_S = 5.0  # seconds that a process has to end by itself before it is killed


@final
class Child:
    """The process of one subject.

    Args:
        subject: Subject to hold.
        threads: Processor threads.
    """

    def __init__(self, subject: Subject, threads: int | None) -> None:
        self.name = subject.name
        environment = dict(os.environ)
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        try:
            self.process = subprocess.Popen(
                subject.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env=environment,
                text=True,
            )
        except OSError as error:
            self.errors.close()
            raise PackageError(
                f"{self.name}: {subject.command[0]} cannot be started ({error.strerror}); give another --python"
            ) from None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # the process may have ended already
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def ask(self, **words: Any) -> dict[str, Any]:
        """Send a request to the process and return its answer.

        Raises:
            PackageError: A user's mistake, or the process ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # the reason that it ended is raised below
            self.process.stdin.write(json.dumps(words) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise self._ended()
        answer = json.loads(line)
        if "error" in answer:
            said: str = answer["error"]
            raise PackageError(said if said.startswith(self.name) else f"{self.name}: {said}")
        return answer

    def _ended(self) -> PackageError:
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        last = f"its last line: {said[-1][:300]}" if said else "it said nothing"
        advice = "memory may have run out: measure fewer at once" if code == -signal.SIGKILL else "try it alone"
        return PackageError(f"{self.name}: its process ended {how}; {last}; {advice}")
