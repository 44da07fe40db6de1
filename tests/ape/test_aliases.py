"""Aliases: an owner registers its own, and nobody another's."""

from __future__ import annotations

import ape

from energyshare.bridge.transfer import alias_of
from tests.ape.net import Net

SECRET = bytes(range(32))


def test_owner_registers_an_alias_with_an_event(net: Net) -> None:
    alias = alias_of(net.client1.address, SECRET)
    assert net.aliases.aliasOf(net.client1, SECRET) == alias
    assert int(net.aliases.ownerOf(alias), 16) == 0

    receipt = net.aliases.register(SECRET, sender=net.client1)

    assert receipt.events == [net.aliases.AliasRegistered(alias, net.client1)]
    assert net.aliases.ownerOf(alias) == net.client1


def test_an_owner_may_have_many_aliases(net: Net) -> None:
    secrets = [bytes([index]) * 32 for index in range(3)]

    for secret in secrets:
        net.aliases.register(secret, sender=net.client1)

    aliases = {alias_of(net.client1.address, secret) for secret in secrets}
    assert len(aliases) == 3
    assert all(net.aliases.ownerOf(alias) == net.client1 for alias in aliases)


def test_the_secret_of_another_makes_another_alias(net: Net) -> None:
    net.aliases.register(SECRET, sender=net.client1)

    net.aliases.register(SECRET, sender=net.stranger)

    assert net.aliases.ownerOf(alias_of(net.client1.address, SECRET)) == net.client1
    assert net.aliases.ownerOf(alias_of(net.stranger.address, SECRET)) == net.stranger


def test_an_alias_is_registered_once(net: Net) -> None:
    net.aliases.register(SECRET, sender=net.client1)

    with ape.reverts(net.aliases.AliasTaken, error_inputs={"owner": net.client1.address}):
        net.aliases.register(SECRET, sender=net.client1)
