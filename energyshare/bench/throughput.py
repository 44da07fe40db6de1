"""How many locks and credits a second one client, one relayer and two nodes get through."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from energyshare.bench.rig import LOCKER, Rig, holders
from energyshare.bridge.packet import MAX_TRANSFERS
from energyshare.chain import devnet
from energyshare.side import Side

__all__ = ["ThroughputReport", "measure"]

_PER_BLOCK = 250
"""Locks that go out together; a block takes some 500."""


@dataclass(frozen=True, slots=True)
class ThroughputReport:
    """What was got through, with nodes, sealers, relayer and client all on one machine."""

    chain: devnet.Kind
    transfers: int
    recipients: int
    lock_seconds: float
    """From the first lock signed to the last one mined."""
    credit_seconds: float
    """From the last lock confirmed to the last credit mined, with proofs and seals."""
    packets: int

    def to_json(self) -> dict[str, Any]:
        return {
            "chain": self.chain,
            "transfers": self.transfers,
            "recipients": self.recipients,
            "packets": self.packets,
            "lock_seconds": round(self.lock_seconds, 3),
            "credit_seconds": round(self.credit_seconds, 3),
            "locks_per_second": round(self.transfers / self.lock_seconds, 1),
            "credits_per_second": round(self.transfers / self.credit_seconds, 1),
        }


def measure(
    kind: devnet.Kind = "anvil",
    transfers: int = 2_000,
    recipients: int = 200,
    progress: Callable[[str], None] | None = None,
) -> ThroughputReport:
    """Lock `transfers` times for `recipients` in turn, then relay all of it."""
    tell = progress or (lambda _: None)
    tell("throughput: deploy")
    with Rig(kind, seed=0, accounts=0) as rig:
        rig.approve()
        (refund,), _ = rig.register(Side.TRANSACTION, [LOCKER])
        aliases, _ = rig.register(Side.SCHEDULE, holders(recipients))
        waiting = [aliases[number % recipients] for number in range(transfers)]

        tell(f"throughput: {transfers:,} locks")
        started = time.monotonic()
        for first in range(0, transfers, _PER_BLOCK):
            rig.lock(waiting[first : first + _PER_BLOCK], refund)
        lock_seconds = time.monotonic() - started
        rig.confirm()

        tell(f"throughput: {transfers:,} credits")
        started = time.monotonic()
        relayer = rig.relayers[Side.TRANSACTION]
        relayer.max_transfers = MAX_TRANSFERS
        packets = 0
        while (packet := relayer.next_packet()) is not None:
            rig.deliver(packet)
            packets += 1
        credit_seconds = time.monotonic() - started
    return ThroughputReport(kind, transfers, recipients, lock_seconds, credit_seconds, packets)
