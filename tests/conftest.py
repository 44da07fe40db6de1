"""What every test may use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from energyshare.contracts import Artifact


@pytest.fixture(scope="session")
def mock_artifact() -> Callable[[str], Artifact]:
    """Artifacts of `contracts/mocks/`, which the package does not ship: compiled once a session."""
    from scripts.compile import CONTRACTS, compile_folder

    made: dict[str, dict[str, Any]] = compile_folder(CONTRACTS / "mocks")

    def artifact(name: str) -> Artifact:
        return Artifact(name, made[name]["abi"], made[name]["bytecode"], made[name]["storageLayout"])

    return artifact
