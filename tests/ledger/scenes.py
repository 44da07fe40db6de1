"""What happens between two chains, in the order of the tests' stories."""

from __future__ import annotations

from eth_utils import keccak

from energyshare.bridge.transfer import alias_of
from energyshare.side import Side
from tests.bridge.world import S, T, World

NOBODY = b"\x11" * 20
"""An alias that nobody registered."""

SECRET = keccak(text="a late registration")


def late_alias(world: World, side: Side, name: str) -> bytes:
    """An alias that the party has not registered yet."""
    return alias_of(world.actors.account(name, side).address, SECRET)


def register_late(world: World, side: Side, name: str) -> None:
    world.send(side, world.network.aliases(side).functions.register(SECRET), name)


def buy(world: World, name: str, amount: int, recipient: bytes | None = None, refund: bytes | None = None) -> None:
    """A purchase, with aliases that need not be any good."""
    market = world.network.market()
    world.send(
        T,
        market.functions.buy(
            world.route(T), amount, recipient or world.aliases[S, name], refund or world.aliases[T, name], 0
        ),
        name,
    )


def claim(world: World, side: Side, alias: bytes) -> None:
    world.send(side, world.lock_contract(side).functions.claim(world.route(side), alias), "EC")


def experiment_1(world: World) -> None:
    """The traffic of the paper's experiment 1."""
    buy(world, "Client1", 73_000)
    world.carry(T)
    world.lock(S, "Client1", 20_000)
    world.carry(S)
    world.lock(S, "EC", 300_000)
    world.carry(S)
