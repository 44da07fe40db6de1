"""What every test may use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from energyshare.cli import main
from energyshare.contracts import Artifact
from tests.bridge.world import World, rolled_back
from tests.cli.processes import Ran, Up


@pytest.fixture(scope="session")
def mock_artifact() -> Callable[[str], Artifact]:
    """Artifacts of `contracts/mocks/`, which the package does not ship: compiled once a session."""
    from scripts.compile import CONTRACTS, compile_folder

    made: dict[str, dict[str, Any]] = compile_folder(CONTRACTS / "mocks")

    def artifact(name: str) -> Artifact:
        return Artifact(name, made[name]["abi"], made[name]["bytecode"], made[name]["storageLayout"])

    return artifact


@pytest.fixture(scope="session")
def deployed() -> Iterator[World]:
    """Deployed once a session; tests take `world`, which is rolled back after each."""
    world = World.make()
    yield world
    world.close()


@pytest.fixture
def world(deployed: World) -> Iterator[World]:
    """The network of experiment 1 on py-evm."""
    with rolled_back(deployed) as world:
        yield world


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command in this process."""

    def run(*args: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["energyshare", *args])
        capsys.readouterr()
        status: object = 0
        try:
            main()
        except SystemExit as exit_:
            status = exit_.code
        captured = capsys.readouterr()
        if isinstance(status, str):  # what sys.exit prints at the end of a process
            return Ran(1, captured.out, captured.err + status + "\n")
        return Ran(int(status or 0), captured.out, captured.err)  # type: ignore[call-overload]

    return run


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start `energyshare up`, and make sure that it ends with the test."""
    started: list[Up] = []

    def start(*args: str) -> Up:
        started.append(Up(tmp_path, *args))
        return started[-1]

    yield start
    for up in started:
        up.kill()
