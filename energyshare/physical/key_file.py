"""The key of a terminal in a file of its own: made where there is none, and never shown."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.exceptions import ValidationError

from energyshare.errors import EnergyShareError

__all__ = ["KeyFileError", "key_in"]


class KeyFileError(EnergyShareError):
    """A terminal's key cannot be read, or not be kept."""


def key_in(path: Path) -> LocalAccount:
    """The key that stands in `path` as 32 bytes in hex; a new one, for its owner alone, where there is no such file.

    Raises KeyFileError.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write("0x" + bytes(Account.create().key).hex() + "\n")
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise KeyFileError(f"others may read the key in {path}: chmod 600 it, or move it away for a new one")
        account: LocalAccount = Account.from_key(path.read_text().strip())
    except OSError as error:
        raise KeyFileError(f"cannot keep a key in {path}: {error.strerror}; name one in a folder of yours") from error
    except (ValueError, ValidationError) as error:
        raise KeyFileError(f"{path} holds no key, which is 32 bytes in hex: move it away for a new one") from error
    return account
