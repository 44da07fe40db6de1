"""Many transactions at once."""

from __future__ import annotations

from collections.abc import Sequence

from eth_account.signers.local import LocalAccount
from web3.types import TxReceipt

from energyshare.chain.connection import Chain
from energyshare.chain.sending import Sendable
from energyshare.errors import ChainError

__all__ = ["send_all"]


def send_all(
    chain: Chain, requests: Sequence[tuple[Sendable, LocalAccount]], gas: int | None = None
) -> list[TxReceipt]:
    """Send all and wait; their receipts. Raises ChainError where one was refused. `gas` is the limit of each."""
    receipts = chain.wait_receipts(chain.submit_many(requests, gas=gas))
    refused = [receipt for receipt in receipts if not receipt["status"]]
    if refused:
        first = "0x" + bytes(refused[0]["transactionHash"]).hex()
        raise ChainError(f"{len(refused)} of {len(receipts)} transactions reverted on {chain.name}, the first {first}")
    return receipts
