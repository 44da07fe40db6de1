"""ABI, bytecode and storage layout of the contracts, as package data: running them needs no compiler."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["Artifact", "artifact", "artifact_names", "error_abis"]


@dataclass(frozen=True, slots=True)
class Artifact:
    """What the compiler made of one contract."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str
    """Creation code, in hex with 0x; `0x` alone for an interface."""
    storage_layout: list[dict[str, Any]]
    """One entry a state variable: `label`, `slot`, `offset`, `type`."""

    def slot(self, label: str) -> int:
        """The storage slot of the state variable `label`. Raises KeyError where there is none."""
        for entry in self.storage_layout:
            if entry["label"] == label:
                return int(entry["slot"])
        raise KeyError(f"{self.name} has no state variable {label}")


@cache
def artifact(name: str) -> Artifact:
    """The artifact of the contract, library or interface `name`."""
    text = (files(__package__) / "artifacts" / f"{name}.json").read_text()
    made = json.loads(text)
    return Artifact(name, made["abi"], made["bytecode"], made["storageLayout"])


@cache
def artifact_names() -> tuple[str, ...]:
    """Every name that `artifact` takes."""
    folder = files(__package__) / "artifacts"
    return tuple(sorted(entry.name.removesuffix(".json") for entry in folder.iterdir()))


@cache
def error_abis() -> tuple[dict[str, Any], ...]:
    """The custom errors of all contracts, each signature once."""
    found = {
        (item["name"], tuple(argument["type"] for argument in item["inputs"])): item
        for name in artifact_names()
        for item in artifact(name).abi
        if item["type"] == "error"
    }
    return tuple(found.values())
