"""Every error that energyshare raises on purpose: one line with the facts and a remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class EnergyShareError(Exception):
    """Base of every error energyshare raises."""


class ChainError(EnergyShareError):
    """A chain cannot be reached, started or used as asked."""


class RpcError(ChainError):
    """A node answered a JSON-RPC request with an error."""

    def __init__(self, method: str, code: int, message: str, data: object = None) -> None:
        super().__init__(f"{method} was refused: {message} (code {code})")
        self.method = method
        self.code = code
        self.message = message
        self.data = data


class NonceTaken(ChainError):
    """Another transaction of the account came first, so what this one was made for may have changed."""

    def __init__(self, address: str, nonce: int) -> None:
        super().__init__(f"transaction {nonce} of {address} is another one: look at the chain again, then act anew")
        self.address = address
        self.nonce = nonce


class HeaderError(ChainError):
    """A header does not hash to what its node claims, or cannot be read at all."""


class ProofError(ChainError):
    """A Merkle-Patricia proof does not lead from the state root to the claimed value."""


class TransactionReverted(ChainError):
    """A call or transaction reverted; `name` and `args_by_name` are the decoded custom error.

    `data` is the raw revert data. `name` is the custom error's name, `Error` for a revert
    string, `Panic` for a failed assertion and the empty string where nothing could be decoded.
    """

    def __init__(
        self,
        name: str,
        args_by_name: Mapping[str, Any],
        data: bytes,
        *,
        action: str = "call",
        transaction_hash: bytes | None = None,
    ) -> None:
        shown = ", ".join(f"{key}={_shown(value)}" for key, value in args_by_name.items())
        reason = f"{name}({shown})" if name else (f"0x{data.hex()}" if data else "no reason given")
        where = f" (transaction 0x{transaction_hash.hex()})" if transaction_hash else ""
        super().__init__(f"{action} reverted: {reason}{where}")
        self.name = name
        self.args_by_name = dict(args_by_name)
        self.data = data
        self.transaction_hash = transaction_hash


def _shown(value: object) -> str:
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)
