"""How many users one scheduling chain carries: units a second that it takes when everybody draws at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eth_account.signers.local import LocalAccount

from energyshare.amount import BASE_UNITS
from energyshare.bench.batch import send_all
from energyshare.chain import devnet
from energyshare.chain.keys import Keyring
from energyshare.chain.sending import Sendable
from energyshare.deployment.actors import COMPANY, Actors
from energyshare.deployment.deploy import StationTerms, Terms
from energyshare.deployment.local import LocalNetwork
from energyshare.dispatch.dispatcher import StationState
from energyshare.dispatch.rules import Rules, Service, user_reading
from energyshare.dispatch.schedule import SERVICES, Schedule
from energyshare.side import Side

__all__ = ["CapacityReport", "measure"]

STATIONS = 20
CAPACITY_WH = 10**9
LOSS_BP = 1_000
UNIT_INTERVAL_S = 60
"""A user draws one unit a minute (paper, section 4.4)."""
_SUPPLY = SERVICES.index(Service.SUPPLY)


@dataclass(frozen=True, slots=True)
class CapacityReport:
    """What was got through, with node and all clients on one machine."""

    chain: devnet.Kind
    users: int
    """That drew at the same time."""
    units: int
    seconds: float
    """From the first draw signed to the last one mined."""
    block_time_s: float
    units_per_block: int
    """In the fullest block."""
    gas_per_unit: int
    """Median."""
    block_gas: int
    """Limit of a block."""

    @property
    def users_carried(self) -> int:
        """Users that draw a unit a minute each, as measured."""
        return int(self.units / self.seconds * UNIT_INTERVAL_S)

    @property
    def users_by_gas(self) -> int:
        """The same if blocks were full and nothing else was slow."""
        return int(self.block_gas // self.gas_per_unit / self.block_time_s * UNIT_INTERVAL_S)

    def to_json(self) -> dict[str, Any]:
        return {
            "chain": self.chain,
            "users": self.users,
            "units": self.units,
            "seconds": round(self.seconds, 2),
            "units_per_second": round(self.units / self.seconds, 1),
            "block_time_s": self.block_time_s,
            "units_in_the_fullest_block": self.units_per_block,
            "gas_per_unit": self.gas_per_unit,
            "block_gas": self.block_gas,
            "users_carried": self.users_carried,
            "users_by_gas": self.users_by_gas,
        }


def measure(
    kind: devnet.Kind = "anvil",
    users: int = 1_000,
    rounds: int = 5,
    block_time_s: float = 1.0,
    progress: Callable[[str], None] | None = None,
) -> CapacityReport:
    """Connect `users` and let each draw `rounds` units as fast as the chain takes them.

    Raises:
        ChainError: A draw was refused.
    """
    tell = progress or (lambda _: None)
    actors = Actors(Keyring())
    names = [f"Client{number}" for number in range(1, users + 1)]
    rights = (rounds + 2) * BASE_UNITS
    stations = [f"Station{number}" for number in range(1, STATIONS + 1)]
    state = StationState(CAPACITY_WH, CAPACITY_WH, can_supply=True, can_acquire=False)
    terms = Terms(
        tokens={COMPANY: BASE_UNITS},
        rights=dict.fromkeys(names, rights),
        rules=Rules(k=rounds + 2, reserve_wh=0),
        stations=tuple(StationTerms(name, state) for name in stations),
        lines={name: {stations[number % STATIONS]: LOSS_BP} for number, name in enumerate(names)},
    )
    tell(f"capacity: deploy for {users:,} users")
    with LocalNetwork(kind, actors, terms, on_step=lambda _: None) as local:
        schedule = local.network.schedule()
        accounts = [actors.account(name, Side.SCHEDULE) for name in names]
        tell(f"capacity: connect {users:,} users")
        approve = schedule.rights.functions.approve(schedule.settlement.address, rights)
        _send(schedule, [(approve, account) for account in accounts])
        _send(schedule, [(schedule.dispatch.functions.connect(_SUPPLY, 0), account) for account in accounts])
        local.run(block_time_s)
        first, started = schedule.chain.height(), time.monotonic()
        gas: list[int] = []
        for number in range(1, rounds + 1):
            tell(f"capacity: unit {number} of {rounds} of each user")
            reading = user_reading(Service.SUPPLY, number * schedule.unit_wh, LOSS_BP)
            draw = schedule.dispatch.functions.draw(_SUPPLY, 1, reading)
            gas += _send(schedule, [(draw, account) for account in accounts])
        seconds = time.monotonic() - started
        local.check()
        head = schedule.chain.height()
        fullest = max(len(schedule.chain.transactions(block)) for block in range(first + 1, head + 1))
        limit = int(schedule.chain.w3.eth.get_block(head)["gasLimit"])
    return CapacityReport(
        kind, users, users * rounds, seconds, block_time_s, fullest, sorted(gas)[len(gas) // 2], limit
    )


def _send(schedule: Schedule, requests: Sequence[tuple[Sendable, LocalAccount]]) -> list[int]:
    """Send all at once and wait. Returns the gas that each used."""
    # One of them says what each needs: they are alike.
    limit = schedule.chain.estimate(*requests[0]) * 3 // 2
    return [receipt["gasUsed"] for receipt in send_all(schedule.chain, requests, limit)]
