"""What a party holds on both chains."""

from __future__ import annotations

from dataclasses import dataclass

from energyshare.amount import whole_units
from energyshare.chain.events import events
from energyshare.network import Network
from energyshare.side import Side

__all__ = ["Wallet", "wallet"]


@dataclass(frozen=True, slots=True)
class Wallet:
    """Base units of both assets."""

    transaction: int
    schedule: int
    transaction_waiting: int = 0
    """Tokens that came home and wait to be claimed, beside those held."""
    schedule_waiting: int = 0

    def to_json(self) -> dict[str, str]:
        """Whole units held on each chain."""
        return {"transaction": whole_units(self.transaction), "schedule": whole_units(self.schedule)}


def wallet(network: Network, name: str) -> Wallet:
    """The wallet of a party. Raises UnknownParty where the network has none of that name."""
    return Wallet(
        *(network.balance(side, name) for side in Side),
        *(_waiting(network, side, network.party(name).addresses.get(side)) for side in Side),
    )


def _waiting(network: Network, side: Side, owner: str | None) -> int:
    if owner is None:
        return 0
    chain, lock, route = network.chains[side], network.ends[side].contract, network.route(side)
    found = events(chain, lock, "ClaimWaiting", network.record.chains[side].deployed_at, chain.height(), route)
    aliases = {bytes(event["args"]["aliasId"]) for event in found}
    if not aliases:
        return 0
    registry = network.aliases(side)
    book = chain.contract("Claims", chain.call(lock.functions.CLAIMS()))
    own = [alias for alias in aliases if chain.call(registry.functions.ownerOf(alias)) == owner]
    lots = sum(sum(chain.call(book.functions.waiting(route, alias))) for alias in own)
    return lots * network.ends[side].route_state(route).lot
