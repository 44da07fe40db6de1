"""Files that are whole or not there, and databases that keep what they said that they kept."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import weakref
from pathlib import Path

__all__ = ["open_database", "write_whole"]


def open_database(owner: object, path: Path | None) -> sqlite3.Connection:
    """Open or create a database for threads to share, which is closed with its `owner`; None keeps it in memory.

    Raises OSError or sqlite3.Error.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(":memory:" if path is None else path, check_same_thread=False, isolation_level=None)
    weakref.finalize(owner, database.close)
    # Not FULL: after a power cut that may undo the last transaction, whose undoing was not yet synced.
    database.execute("PRAGMA synchronous = EXTRA")
    return database


def write_whole(path: Path, text: str) -> None:
    """Write all of a file or, on any failure, nothing; readable by its owner alone. Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
