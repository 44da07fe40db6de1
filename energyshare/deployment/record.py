"""The deployment record: what later commands need to find a network, on disk and free of secrets."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from energyshare.deployment.actors import Party, PartyKind
from energyshare.durable import write_whole
from energyshare.errors import EnergyShareError
from energyshare.side import Side

__all__ = ["ChainRecord", "NetworkRecord", "RecordError"]

VERSION = 2


class RecordError(EnergyShareError):
    """A deployment record cannot be read or written."""


@dataclass(frozen=True, slots=True)
class ChainRecord:
    """One chain of a network and what is deployed there."""

    url: str | None
    """JSON-RPC; None for a chain inside the process that deployed it."""
    chain_id: int
    genesis_hash: str
    deployed_at: int
    """The first block of the deployment."""
    manager: str
    asset: str
    aliases: str
    lock: str
    light_client: str
    """Judges the other chain's headers."""
    market: str | None
    """On the transaction chain alone."""
    dispatch: str | None
    """On the scheduling chain alone."""
    sealers: tuple[str, ...]
    """URLs of those who seal this chain's headers; empty where they live in the process of the devnet."""


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """A network: both chains and the parties known by name."""

    chains: dict[Side, ChainRecord]
    parties: tuple[Party, ...]

    @staticmethod
    def check_writable(path: Path) -> None:
        """Raises RecordError where `write` could not write: to be known before a deployment, not after it."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path.parent).close()
        except OSError as error:
            raise RecordError(f"cannot write {path}: {error.strerror}; name a writable folder") from error

    def write(self, path: Path) -> None:
        """Write the whole record or, on any failure, nothing."""
        body = {
            "version": VERSION,
            "chains": {side.value: asdict(chain) for side, chain in self.chains.items()},
            "parties": [
                {"name": party.name, "kind": party.kind.value, "addresses": party.addresses} for party in self.parties
            ],
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(body, indent=2) + "\n")
        except OSError as error:
            raise RecordError(f"cannot write {path}: {error.strerror}; name a writable folder") from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises RecordError where there is none or it is not one."""
        try:
            body: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise RecordError(
                f"no deployment record at {path}: start a network with `energyshare up`, or name one with --network"
            ) from error
        except (OSError, ValueError) as error:
            raise RecordError(f"cannot read {path}: {error}; name a deployment record with --network") from error
        try:
            if body["version"] != VERSION:
                raise RecordError(
                    f"{path} has version {body['version']}, not {VERSION}: deploy again with this version"
                )
            return cls(
                {
                    side: ChainRecord(**{**body["chains"][side], "sealers": tuple(body["chains"][side]["sealers"])})
                    for side in map(Side, {**dict.fromkeys(Side), **body["chains"]})
                },
                tuple(
                    Party(
                        party["name"],
                        PartyKind(party["kind"]),
                        {Side(side): address for side, address in party["addresses"].items()},
                    )
                    for party in body["parties"]
                ),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RecordError(f"{path} is no deployment record: {error}; name one with --network") from error
