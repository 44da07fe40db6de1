"""What a command answered, and a network that stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


class Up:
    """`energyshare up` as a process, with its record in a folder of its own."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.record = folder / "network.json"
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "energyshare", "up", "--network", str(self.record), *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, text: str) -> None:
        """Read its output up to a line with `text`."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if text in line:
                return
        pytest.fail(f"up ended before it said {text!r}:\n{''.join(self._lines)}")

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Send a signal and wait for the end. Returns the status and all that it said."""
        self._process.send_signal(number)
        rest, _ = self._process.communicate(timeout=30)
        return self._process.returncode, "".join(self._lines) + rest

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
