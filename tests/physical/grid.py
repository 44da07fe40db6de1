"""A small grid: a station, a user, the line between them and who commands them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from eth_account import Account
from eth_account.signers.local import LocalAccount

from energyshare.dispatch.rules import Service
from energyshare.physical.broker import Broker
from energyshare.physical.device import SimulatedStorage
from energyshare.physical.feeder import Balance, Feeder
from energyshare.physical.gateway import Gateway
from energyshare.physical.messages import ChainReference, Command
from energyshare.physical.terminal import StationTerminal, UserTerminal

STATION, USER = "station-a", "user-1"
KEYS: dict[str, LocalAccount] = {STATION: Account.from_key(b"\x0a" * 32), USER: Account.from_key(b"\x0b" * 32)}
"""The terminals' own."""
ADDRESSES = {terminal: key.address for terminal, key in KEYS.items()}
LOSS_BP = 1_500
UNIT_WH = 1_000


def event(index: int, transaction: int = 0x11) -> ChainReference:
    return ChainReference(1337, "0x" + transaction.to_bytes(32).hex(), index)


@dataclass
class Clock:
    """Unix seconds, moved by hand."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


@dataclass
class Grid:
    """Everything of a small grid but the chain."""

    broker: Broker
    account: LocalAccount
    clock: Clock
    storage: SimulatedStorage
    feeder: Feeder
    station: StationTerminal
    user: UserTerminal
    gateway: Gateway
    closing: ExitStack
    _indices: Iterator[int] = field(default_factory=itertools.count)

    def command(self, service: Service = Service.SUPPLY, energy_wh: int = UNIT_WH, **changes: object) -> Command:
        """For the next event on the chain, valid for a minute, signed."""
        terminal, peer = (STATION, USER) if service is Service.SUPPLY else (USER, STATION)
        fields = {
            "reference": event(next(self._indices)),
            "terminal": terminal,
            "service": service,
            "peer": peer,
            "connection": event(0, 0x22 if service is Service.SUPPLY else 0x33),
            "energy_wh": energy_wh,
            "power_w": 5_000,
            "not_before": int(self.clock()) - 1,
            "expires": int(self.clock()) + 60,
        } | changes
        return Command(**fields).signed(self.account)  # type: ignore[arg-type]

    def new_gateway(self, name: str) -> Gateway:
        """Another gateway, or one that restarted and forgot everything."""
        gateway = Gateway(self.broker.gateway(name, ADDRESSES), ADDRESSES, clock=self.clock, resend_seconds=0.3)
        gateway.start()
        self.closing.callback(gateway.close)
        return gateway

    @property
    def balance(self) -> Balance:
        return Balance.of([self.storage.storage], self.feeder.flows)
