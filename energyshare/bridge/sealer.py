"""A sealer: signs headers that its own node holds canonical, and never two of one height."""

from __future__ import annotations

import logging
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eth_account.signers.local import LocalAccount
from eth_typing import Hash32

from energyshare.bridge.seal import seal_digest
from energyshare.chain.connection import Chain
from energyshare.durable import open_database
from energyshare.errors import EnergyShareError

__all__ = ["Journal", "Seal", "SealRefused", "Sealer", "SealerSource"]

logger = logging.getLogger(__name__)


class SealRefused(EnergyShareError):
    """A sealer does not sign this header."""


@dataclass(frozen=True, slots=True)
class Seal:
    """One sealer's signature of one header."""

    sealer: str
    number: int
    block_hash: bytes
    signature: bytes
    """65 bytes: r, s, v (27 or 28)."""


class SealerSource(Protocol):
    """Where a relayer gets one sealer's signatures: in process, or over HTTP."""

    def seal(self, number: int) -> Seal:
        """The seal of the block at height `number`. Raises SealRefused or another EnergyShareError."""
        ...


class Journal:
    """What a sealer has signed: one hash a height, on disk before the signature leaves.

    A height belongs to a chain (id and genesis hash) and a sealer, so that one file may serve several.
    """

    def __init__(self, path: Path | None) -> None:
        """Open or create the file; None keeps it in memory, for sealers that die with their dev chain."""
        self._lock = threading.Lock()
        try:
            self._database = open_database(self, path)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS signed (chain BLOB, sealer TEXT, number INTEGER, hash BLOB NOT NULL,"
                " PRIMARY KEY (chain, sealer, number))"
            )
        except (OSError, sqlite3.Error) as error:
            raise EnergyShareError(
                f"cannot open the sealer's journal {path}: {error}; name a file on a writable disk"
            ) from error

    def record(self, chain: bytes, sealer: str, number: int, block_hash: bytes) -> bytes:
        """Note that `sealer` signs `block_hash` at `number` unless a hash is noted. Returns the one that is.

        Raises SealRefused where it cannot be noted.
        """
        try:
            with self._lock:
                self._database.execute(
                    "INSERT OR IGNORE INTO signed VALUES (?, ?, ?, ?)", (chain, sealer, number, block_hash)
                )
                (noted,) = self._database.execute(
                    "SELECT hash FROM signed WHERE chain = ? AND sealer = ? AND number = ?", (chain, sealer, number)
                ).fetchone()
        except sqlite3.Error as error:
            raise SealRefused(
                f"sealer {sealer}: cannot note block {number} in its journal ({error}): see to the journal's disk"
            ) from error
        return bytes(noted)

    def close(self) -> None:
        self._database.close()


class Sealer:
    """Signs for one chain with one key, by its own node's word alone."""

    def __init__(self, chain: Chain, account: LocalAccount, journal: Journal) -> None:
        self.chain = chain
        self.account = account
        self._journal = journal

    def seal(self, number: int) -> Seal:
        """Sign the canonical block at height `number`.

        Raises:
            SealRefused: The node has no such block, or another block of this height was signed before: after a
                reorganisation the sealer goes on with the next height.
        """
        height = self.chain.height()
        if number > height:
            raise SealRefused(f"sealer {self.account.address}: no block {number} yet, the node is at {height}")
        block_hash = self.chain.header(number).hash
        chain = self.chain.chain_id.to_bytes(32) + self.chain.genesis_hash
        noted = self._journal.record(chain, self.account.address, number, block_hash)
        if noted != block_hash:
            raise SealRefused(
                f"sealer {self.account.address}: signed 0x{noted.hex()} at height {number} before, the node now holds "
                f"0x{block_hash.hex()}: ask for the next height"
            )
        digest = seal_digest(self.chain.chain_id, self.chain.genesis_hash, block_hash)
        signature = self.account.unsafe_sign_hash(Hash32(digest)).signature
        logger.debug("sealed %s block %d", self.chain.name, number)
        return Seal(self.account.address, number, block_hash, bytes(signature))
