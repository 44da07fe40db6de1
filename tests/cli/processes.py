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


class Process:
    """An `energyshare` command that stays until it is stopped."""

    def __init__(self, *args: str) -> None:
        self._lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "energyshare", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def wait_for(self, text: str) -> str:
        """Read its output up to a line with `text`, and return that line."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if text in line:
                return line
        pytest.fail(f"the process ended before it said {text!r}:\n{''.join(self._lines)}")

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Send a signal and wait for the end. Returns the status and all that it said."""
        self._process.send_signal(number)
        rest, _ = self._process.communicate(timeout=30)
        return self._process.returncode, "".join(self._lines) + rest

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


class Up(Process):
    """`energyshare up`, with its record in a folder of its own."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.record = folder / "network.json"
        super().__init__("up", "--network", str(self.record), *args)
