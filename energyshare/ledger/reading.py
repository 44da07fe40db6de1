"""Reading a lock and what stands around it."""

from __future__ import annotations

from energyshare.bridge.lock_end import LockEnd
from energyshare.network import Network
from energyshare.side import Side

__all__ = ["boxes", "fresh_end"]


def fresh_end(network: Network, side: Side) -> LockEnd:
    """A lock end of the reader's own: relayers drop from theirs the transfers that they have delivered."""
    record = network.record.chains[side]
    return LockEnd(network.chains[side], record.lock, record.deployed_at)


def boxes(network: Network, side: Side) -> list[str]:
    """Addresses of the boxes of a chain's lock."""
    chain, lock = network.chains[side], network.ends[side].contract
    return [str(chain.call(lock.functions.boxAt(index))) for index in range(chain.call(lock.functions.BOXES()))]
