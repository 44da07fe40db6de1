from __future__ import annotations

import pytest

from energyshare.deployment.actors import UnknownParty
from energyshare.ledger.wallets import Wallet, wallet
from tests.bridge.world import S, T, World
from tests.ledger.scenes import NOBODY, claim, experiment_1, late_alias, register_late


def test_wallets_hold_what_experiment_1_says(world: World) -> None:
    assert wallet(world.network, "Client1").to_json() == {"transaction": "1000", "schedule": "0"}

    experiment_1(world)

    assert wallet(world.network, "Client1").to_json() == {"transaction": "947", "schedule": "53"}
    assert wallet(world.network, "EC").to_json() == {"transaction": "1300", "schedule": "700"}


def test_what_waits_is_shown_beside_what_is_held_until_it_is_claimed(world: World) -> None:
    alias = late_alias(world, T, "Client1")
    world.lock(T, "Client1", 8_000, recipient=NOBODY, refund=alias)
    world.carry(T)
    world.carry(S)
    assert wallet(world.network, "Client1") == Wallet(992_000, 0)

    register_late(world, T, "Client1")
    assert wallet(world.network, "Client1") == Wallet(992_000, 0, transaction_waiting=8_000)
    assert wallet(world.network, "EC").transaction_waiting == 0

    claim(world, T, alias)
    assert wallet(world.network, "Client1") == Wallet(1_000_000, 0)


def test_a_name_that_nobody_has_is_an_error(world: World) -> None:
    with pytest.raises(UnknownParty, match="Client9"):
        wallet(world.network, "Client9")
