"""A broker, a small grid on it, and the key that its terminals trust."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from energyshare.physical.broker import Broker
from energyshare.physical.device import SimulatedStorage
from energyshare.physical.feeder import Feeder
from energyshare.physical.gateway import Gateway
from energyshare.physical.storage import Storage
from energyshare.physical.terminal import StationTerminal, UserTerminal
from energyshare.physical.topics import State
from tests.physical.grid import ADDRESSES, KEYS, LOSS_BP, STATION, USER, Clock, Grid


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def account() -> LocalAccount:
    return Account.from_key(b"\x01" * 32)


@pytest.fixture
def grid(broker: Broker, account: LocalAccount) -> Iterator[Grid]:
    with ExitStack() as closing:
        clock = Clock()
        feeder = Feeder({(USER, STATION): LOSS_BP})
        storage = SimulatedStorage(Storage(40_000, 20_000, 10_000, 9_500, 9_600))
        at_bus = feeder.station(STATION, storage)
        station = StationTerminal(
            STATION,
            at_bus,
            broker.terminal(STATION),
            account=KEYS[STATION],
            trusted=account.address,
            journal=None,
            clock=clock,
            meters=feeder.meters(STATION),
        )
        user = UserTerminal(
            USER,
            feeder.user(USER),
            broker.terminal(USER),
            account=KEYS[USER],
            trusted=account.address,
            journal=None,
            clock=clock,
        )
        for terminal in (station, user):
            terminal.start()
            closing.callback(terminal.close)
        gateway = Gateway(broker.gateway("gateway", ADDRESSES), ADDRESSES, clock=clock, resend_seconds=0.3)
        gateway.start()
        closing.callback(gateway.close)
        for name in ADDRESSES:
            assert gateway.wait_for(lambda name=name: gateway.state(name) is State.READY, 10)
        yield Grid(broker, account, clock, storage, feeder, station, user, gateway, closing)
