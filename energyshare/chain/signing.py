"""Signed transactions as the bytes that nodes take: legacy (EIP-155) and dynamic-fee (EIP-1559).

Signing through eth-account costs three times as much; under load that is what limits a client.
"""

from __future__ import annotations

from dataclasses import dataclass

import rlp
from eth_keys.datatypes import PrivateKey
from eth_utils import keccak

_DYNAMIC_FEE_TYPE = b"\x02"


@dataclass(frozen=True, slots=True)
class Fees:
    """What a transaction offers for its gas, in wei per gas."""

    maximum: int
    """The most to be paid; for legacy transactions the gas price."""
    tip: int | None
    """The most of it for the block's proposer, None for a legacy transaction."""


@dataclass(frozen=True, slots=True)
class Unsigned:
    """Everything a signature covers, but for the chain."""

    nonce: int
    fees: Fees
    gas: int
    to: bytes
    """20 bytes, none to create a contract."""
    value: int
    """Wei."""
    data: bytes


def sign(transaction: Unsigned, chain_id: int, key: PrivateKey) -> tuple[bytes, bytes]:
    """The signed transaction and its hash."""
    tx, fees = transaction, transaction.fees
    if fees.tip is None:
        fields = [tx.nonce, fees.maximum, tx.gas, tx.to, tx.value, tx.data]
        signature = key.sign_msg_hash(keccak(rlp.encode([*fields, chain_id, 0, 0])))
        raw = rlp.encode([*fields, chain_id * 2 + 35 + signature.v, signature.r, signature.s])
    else:
        fields = [chain_id, tx.nonce, fees.tip, fees.maximum, tx.gas, tx.to, tx.value, tx.data, []]
        signature = key.sign_msg_hash(keccak(_DYNAMIC_FEE_TYPE + rlp.encode(fields)))
        raw = _DYNAMIC_FEE_TYPE + rlp.encode([*fields, signature.v, signature.r, signature.s])
    return raw, keccak(raw)
