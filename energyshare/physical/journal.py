"""What a terminal has begun and what came of it, on disk: nothing is moved that is not noted first.

What is done is forgotten once its command has expired for long. How long ago that may be is noted too, so that a clock
which is set back makes no forgotten command good again.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from energyshare.durable import open_database
from energyshare.errors import EnergyShareError
from energyshare.physical.messages import Command, MeterReading, Result, decode, encoded

__all__ = ["Entry", "Journal", "JournalError"]


_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS commands (id TEXT PRIMARY KEY, expires INTEGER NOT NULL, command BLOB NOT NULL,"
    " before BLOB NOT NULL, result BLOB)",
    "CREATE INDEX IF NOT EXISTS by_expiry ON commands (expires)",
    "CREATE INDEX IF NOT EXISTS open ON commands (id) WHERE result IS NULL",
    "CREATE TABLE IF NOT EXISTS forgotten (only INTEGER PRIMARY KEY, expires INTEGER NOT NULL)",
)
"""Looking for what is open costs the same however much is done."""


class JournalError(EnergyShareError):
    """The journal cannot be opened or written: nothing may be moved."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A command that was begun."""

    command: Command
    before: MeterReading
    """Just before anything moved."""
    result: Result | None
    """None while it is not known."""


class Journal:
    """The commands of one terminal, by id. It may be shared by threads, not by terminals."""

    def __init__(self, path: Path | None) -> None:
        """Open or create the file; None keeps it in memory, for terminals that die with their simulated device."""
        self._lock = threading.Lock()
        try:
            self._database = open_database(self, path)
            for statement in _SCHEMA:
                self._database.execute(statement)
            row = self._database.execute("SELECT expires FROM forgotten").fetchone()
            self._forgotten: int = row[0] if row else 0
        except (OSError, sqlite3.Error) as error:
            raise JournalError(
                f"cannot open the terminal's journal {path}: {error}; name a file on a writable disk"
            ) from error

    def begin(self, command: Command, before: MeterReading) -> bool:
        """Note that a command begins. False if it began before."""
        _, written = self._execute(
            "INSERT OR IGNORE INTO commands VALUES (?, ?, ?, ?, NULL)",
            *(command.cmd_id, command.expires, encoded(command), encoded(before)),
        )
        return written == 1

    def finish(self, result: Result) -> None:
        """Note what came of it."""
        self._execute("UPDATE commands SET result = ? WHERE id = ?", encoded(result), result.cmd_id)

    def find(self, cmd_id: str) -> Entry | None:
        """The command, if it ever began."""
        return next(iter(self._entries("WHERE id = ?", cmd_id)), None)

    def unfinished(self) -> list[Entry]:
        """Those of which nobody knows what came: the terminal died meanwhile, or its device did not answer."""
        return self._entries("WHERE result IS NULL ORDER BY rowid")

    @property
    def forgotten(self) -> int:
        """Commands that expire by this moment, in unix seconds, may have been carried out and forgotten."""
        return self._forgotten

    def forget(self, expired: int) -> None:
        """Forget what is done of the commands that expired by a moment."""
        if expired <= self._forgotten:
            return
        # In this order: what dies in between has forgotten too little.
        self._execute("INSERT OR REPLACE INTO forgotten VALUES (0, ?)", expired)
        self._forgotten = expired
        self._execute("DELETE FROM commands WHERE expires <= ? AND result IS NOT NULL", expired)

    def close(self) -> None:
        self._database.close()

    def _entries(self, where: str, *values: str) -> list[Entry]:
        rows, _ = self._execute(f"SELECT command, before, result FROM commands {where}", *values)
        return [
            Entry(
                command=decode(Command, command),
                before=decode(MeterReading, before),
                result=None if result is None else decode(Result, result),
            )
            for command, before, result in rows
        ]

    def _execute(self, statement: str, *values: str | bytes | int) -> tuple[list[tuple[Any, ...]], int]:
        """Rows read and rows written."""
        try:
            with self._lock:
                cursor = self._database.execute(statement, values)
                return cursor.fetchall(), cursor.rowcount
        except sqlite3.Error as error:
            raise JournalError(f"the terminal's journal fails ({error}): see to its disk") from error
