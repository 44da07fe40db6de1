from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from energyshare.chain import anvil
from energyshare.chain.anvil import Anvil, find_anvil
from energyshare.errors import ChainError

PARENT = """
import signal
import sys
from energyshare.chain.anvil import Anvil
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background leaves it ignored
node = Anvil(77)
print(node.pid, node.url, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _needs_anvil() -> None:
    try:
        find_anvil()
    except ChainError as error:
        pytest.skip(str(error))


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pid: int, within: float = 5.0) -> bool:
    deadline = time.monotonic() + within
    while is_running(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_anvil_never_outlives_the_process_that_started_it(how: signal.Signals, tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[0])
        assert is_running(pid)
        assert list(tmp_path.iterdir())

        parent.send_signal(how)
        parent.wait(timeout=30)

        assert gone(pid)
    deadline = time.monotonic() + 5
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not list(tmp_path.iterdir()), "its files are removed"


def test_stopping_kills_the_process_and_frees_its_port() -> None:
    with Anvil(77) as node:
        pid, port = node.pid, node.port
        with pytest.raises(ChainError, match=f"port {port} .* is taken"):
            Anvil(78, port=port)

    assert not is_running(pid)
    with Anvil(77, port=port) as again:
        assert again.port == port
        again.stop()


def test_a_missing_anvil_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(anvil, "_node_modules", lambda: iter(()))

    with pytest.raises(ChainError, match=r"npm ci.*--chain py-evm"):
        Anvil(77)


def test_an_anvil_that_fails_at_once_is_reported_with_its_words(tmp_path: Path) -> None:
    script = tmp_path / "anvil"
    script.write_text("#!/bin/sh\necho 'no such flag' >&2\nexit 3\n")
    script.chmod(0o755)

    with pytest.raises(ChainError, match=r"stopped at once \(no such flag\)"):
        Anvil(77, executable=script)


def test_an_anvil_that_is_no_program_is_reported(tmp_path: Path) -> None:
    script = tmp_path / "anvil"
    script.write_text("not a program")

    with pytest.raises(ChainError, match="could not be started"):
        Anvil(77, executable=script)
