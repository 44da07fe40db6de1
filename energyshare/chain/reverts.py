"""Why a call reverted: revert data decoded by the custom errors of the project's contracts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eth_abi import decode as abi_decode
from eth_abi.exceptions import DecodingError
from eth_utils import to_checksum_address
from eth_utils.abi import collapse_if_tuple, function_abi_to_4byte_selector

from energyshare.contracts import error_abis
from energyshare.errors import RpcError, TransactionReverted

_BUILT_IN: tuple[Mapping[str, Any], ...] = (
    {"type": "error", "name": "Error", "inputs": [{"name": "message", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
)


def decode(data: bytes, errors: Iterable[Mapping[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Name and arguments of the custom error in `data`; an empty name if none of `errors` fits."""
    selector = data[:4]
    for error in (*_BUILT_IN, *errors):
        if _selector(error) == selector:
            inputs = error.get("inputs", ())
            try:
                values = abi_decode([collapse_if_tuple(item) for item in inputs], data[4:])
            except DecodingError:
                continue
            names = [item.get("name") or f"arg{index}" for index, item in enumerate(inputs)]
            shown = [
                to_checksum_address(value) if item["type"] == "address" else value
                for item, value in zip(inputs, values, strict=True)
            ]
            return str(error["name"]), dict(zip(names, shown, strict=True))
    return "", {}


def reverted(
    data: bytes, contract_abi: Sequence[Mapping[str, Any]], action: str, transaction_hash: bytes | None = None
) -> TransactionReverted:
    """The error to raise for revert `data`, decoded by the contract's errors, then by all of ours."""
    own = [item for item in contract_abi if item.get("type") == "error"]
    name, arguments = decode(data, own)
    if not name and data:
        name, arguments = decode(data, error_abis())
    return TransactionReverted(name, arguments, data, action=action, transaction_hash=transaction_hash)


def revert_data(error: RpcError) -> bytes | None:
    """Revert data in a node's error answer, None if the error is not a revert."""
    data = error.data
    if isinstance(data, Mapping):
        data = data.get("data") or data.get("result")
    if isinstance(data, str):
        found = data.removeprefix("Reverted ")
        if found.startswith("0x"):
            return bytes.fromhex(found[2:])
    return b"" if "revert" in error.message.lower() else None


def _selector(error: Mapping[str, Any]) -> bytes:
    return function_abi_to_4byte_selector(error)  # type: ignore[arg-type]
