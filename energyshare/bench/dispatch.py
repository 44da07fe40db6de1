"""Gas of dispatch, from the receipts of real transactions on a scheduling chain of its own.

Steady state: users and stations have been there before, so that accounts and connections are not new; balances and
floats stand, allowances are infinite, and connecting acknowledges the unit of the connection before. Every figure
starts from the same state, which a snapshot restores. Keys follow from a seed: on py-evm two runs agree to the unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from web3.contract import Contract
from web3.contract.contract import ContractFunction

from energyshare.chain import devnet
from energyshare.chain.sending import Sendable
from energyshare.deployment.local import CHAIN_IDS
from energyshare.dispatch.rules import MAX_LOSS_BP, Rules, Service
from energyshare.errors import ChainError
from energyshare.side import Side

__all__ = ["BOUNDS", "MANY_LINES", "REST", "RULES", "UNAVAILABLE", "UNRELATED", "DispatchGas", "measure"]

BOUNDS: Mapping[str, int] = {"report": 38_000}
"""The most gas that a figure may be."""

RULES = Rules(idle_blocks=1)
"""The paper's; idleness, like the period, is as short as can be, which costs no gas."""

PERIOD_S = 1

REST = RULES.k - 1
"""Units that connecting leaves."""

UNAVAILABLE = (0, 1, 5, 50)
"""Stations with better lines than the one that serves, in the applications that are measured."""

MANY_LINES = max(UNAVAILABLE) + 1

UNRELATED = (2 * max(UNAVAILABLE), 1_000)
"""Stations that the user has no line to. The first are there in any case: those of UNAVAILABLE."""

_SUPPLY, _ACQUIRE = range(len(Service))
_NOTHING, _, _YES = range(3)
_LOSS_BP = 500
_BETTER_LOSS_BP = 100
_CAPACITY_WH = 10**9
_RIGHTS_WH = 10**6
_UNLIMITED = 2**256 - 1
_REGISTRATION_GAS = 250_000
_REGISTRATIONS_AT_ONCE = 100

Progress = Callable[[str], None]
"""Told what is being measured."""

Step = tuple[ContractFunction, LocalAccount]
"""A transaction and who sends it."""


@dataclass(frozen=True, slots=True)
class DispatchGas:
    """What each act of dispatch costs."""

    figures: Mapping[str, int]
    connect_among: Mapping[int, int]
    """Gas of connecting for supply by the number of stations that the user has no line to."""

    @property
    def violations(self) -> list[str]:
        """One line for each bound that does not hold."""
        found = [
            f"dispatch {name}: {self.figures[name]:,} gas, and {bound:,} is the most it may be"
            for name, bound in BOUNDS.items()
            if self.figures[name] > bound
        ]
        if len(set(self.connect_among.values())) > 1:
            seen = ", ".join(f"{gas:,} gas among {stations:,}" for stations, gas in self.connect_among.items())
            found.append(f"dispatch connect: {seen} stations without a line, and they may cost nothing")
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            **self.figures,
            "connect_among_unrelated": {str(stations): gas for stations, gas in self.connect_among.items()},
            "bounds": dict(BOUNDS),
        }


def measure(
    kind: devnet.Kind = "py-evm", unrelated: Sequence[int] = UNRELATED, progress: Progress = lambda _: None
) -> DispatchGas:
    """Deploy dispatch and measure it. Takes some 15 seconds on py-evm."""
    progress("gas: dispatch")
    with _Grid(kind) as grid:
        figures = {
            "deploy": grid.deployment,
            **_company(grid),
            **_stations(grid),
            **_supply(grid),
            **_acquisition(grid),
        }
        connect_among: dict[int, int] = {}
        for stations in unrelated:
            progress(f"gas: connecting among {stations:,} stations")
            grid.register_unrelated(stations)
            connect_among[stations] = grid.gas(grid.connect(_SUPPLY))
    return DispatchGas(figures, connect_among)


def _company(grid: _Grid) -> dict[str, int]:
    newcomer = _account("newcomer").address
    return {
        "register": grid.gas(grid.register(_account("station"), stored=0, flags=True)),
        "set_lines_1": grid.gas(grid.set_lines(newcomer, grid.off[:1])),
        f"set_lines_{MANY_LINES}": grid.gas(grid.set_lines(newcomer, (grid.off + grid.empty)[:MANY_LINES])),
        "settle": grid.gas(grid.connect(_SUPPLY), (grid.settlement.functions.settle(grid.station), grid.user)),
    }


def _stations(grid: _Grid) -> dict[str, int]:
    return {
        "report": grid.gas(grid.report(True, _CAPACITY_WH // 3, _YES, _YES)),
        "report_stored_only": grid.gas(grid.report(True, _CAPACITY_WH // 3, _NOTHING, _NOTHING)),
    }


def _supply(grid: _Grid) -> dict[str, int]:
    connect = grid.connect(_SUPPLY)
    found = {
        "connect_supply": grid.gas(connect),
        "draw_1": grid.gas(connect, grid.draw(1)),
        f"draw_{REST}": grid.gas(connect, grid.draw(REST)),
        "close": grid.gas(connect, grid.close()),
        "close_idle": grid.gas(
            connect, (grid.dispatch.functions.closeIdle(grid.user.address, _SUPPLY), grid.station_key)
        ),
    }
    apply = grid.apply(_SUPPLY, RULES.k)
    for count in UNAVAILABLE:
        better = grid.set_lines(grid.user.address, grid.off[:count])
        found[f"apply_{RULES.k}_past_{count}"] = grid.gas(better, apply)
    for count in UNAVAILABLE[1:]:
        better = grid.set_lines(grid.user.address, grid.empty[:count])
        found[f"apply_{RULES.k}_clearing_{count}"] = grid.gas(better, apply)
    return found


def _acquisition(grid: _Grid) -> dict[str, int]:
    connect, apply = grid.connect(_ACQUIRE), grid.apply(_ACQUIRE, RULES.k)
    return {
        "connect_acquire": grid.gas(connect),
        f"apply_{RULES.k}_acquire": grid.gas(apply),
        "accept_1": grid.gas(connect, grid.accept(1)),
        f"accept_{RULES.k}": grid.gas(apply, grid.accept(RULES.k)),
    }


class _Grid:
    """One station that serves one user, and stations that do not: some without their flag, some that will lose it."""

    def __init__(self, kind: devnet.Kind) -> None:
        self.company, self.user, self.station_key = (_account(name) for name in ("company", "user", "station 1"))
        self.chain = devnet.start(
            kind, Side.SCHEDULE.value, CHAIN_IDS[Side.SCHEDULE], salt=keccak(text="energyshare bench dispatch")
        )
        try:
            self._deploy()
            self._furnish()
        except BaseException:
            self.chain.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.chain.close()

    def _deploy(self) -> None:
        chain, company = self.chain, self.company.address
        manager, _ = chain.deploy("NetworkManager", [company], self.company)
        rights, _ = chain.deploy("EnergyRights", [10 * _RIGHTS_WH, company], self.company)
        rules = (RULES.k, RULES.reserve_wh, RULES.idle_blocks)
        address, receipt = chain.deploy(
            "Dispatch", [manager, rights, company, RULES.unit_wh, rules, PERIOD_S], self.company
        )
        self.deployment = receipt["gasUsed"]
        self.rights: Contract = chain.contract("EnergyRights", rights)
        self.dispatch: Contract = chain.contract("Dispatch", address)
        self.lines: Contract = chain.contract("LineRegistry", chain.call(self.dispatch.functions.LINES()))
        self.settlement: Contract = chain.contract("Settlement", chain.call(self.dispatch.functions.SETTLEMENT()))

    def _furnish(self) -> None:
        """Stations, lines and rights, and a first unit each way."""
        approve = self.rights.functions.approve(self.settlement.address, _UNLIMITED)
        self.station = 1
        self._do(
            self.register(self.station_key, stored=_CAPACITY_WH // 2, flags=True),
            (self.settlement.functions.setFloat(self.station, _RIGHTS_WH), self.company),
            (approve, self.company),
            (approve, self.user),
            (self.rights.functions.transfer(self.user.address, _RIGHTS_WH), self.company),
            (self.settlement.functions.fund(self.station, _RIGHTS_WH), self.company),
            self.set_lines(self.user.address, [self.station], _LOSS_BP),
            (self.dispatch.functions.applyFor(_SUPPLY, 1, 0), self.user),
            (self.dispatch.functions.applyFor(_ACQUIRE, 1, 0), self.user),
            self.accept(1),
        )
        self.off = self._register_many(max(UNAVAILABLE), flags=False)
        self.empty = self._register_many(max(UNAVAILABLE), flags=True)

    def register_unrelated(self, stations: int) -> None:
        """Register stations until the user has no line to so many."""
        self._register_many(stations + 1 - self._count(), flags=True)

    def gas(self, *steps: Step) -> int:
        """Gas of the last of these transactions; afterwards the chain is as it was."""
        before = self.chain.snapshot()
        used = self._do(*steps)
        self.chain.revert(before)
        return used

    def _do(self, *steps: Step) -> int:
        for what, account in steps:
            receipt = self.chain.transact(what, account)
        return receipt["gasUsed"]

    def _count(self) -> int:
        return int(self.chain.call(self.dispatch.functions.stationCount()))

    def _register_many(self, count: int, flags: bool) -> list[int]:
        """Register stations without energy; their ids."""
        first = self._count() + 1
        requests: list[tuple[Sendable, LocalAccount]] = [
            self.register(_account(f"station {number}"), stored=0, flags=flags)
            for number in range(first, first + count)
        ]
        for start in range(0, count, _REGISTRATIONS_AT_ONCE):
            digests = self.chain.submit_many(requests[start : start + _REGISTRATIONS_AT_ONCE], gas=_REGISTRATION_GAS)
            if not all(receipt["status"] for receipt in self.chain.wait_receipts(digests)):
                raise ChainError(f"a station could not be registered with {_REGISTRATION_GAS} gas: allow more")
        return list(range(first, first + count))

    # Transactions

    def register(self, key: LocalAccount, stored: int, flags: bool) -> Step:
        return self.dispatch.functions.register((key.address, _CAPACITY_WH, stored, 0, 0, flags, flags)), self.company

    def set_lines(self, user: str, stations: Sequence[int], loss_bp: int = _BETTER_LOSS_BP) -> Step:
        return self.lines.functions.setLines(user, [(station, loss_bp) for station in stations]), self.company

    def report(self, *said: int) -> Step:
        """What the station says beside its counter: `hasStored`, `stored`, `canSupply`, `canAcquire`."""
        transfers = 2  # the first unit each way
        return self.dispatch.functions.report(self.station, (transfers, *said)), self.station_key

    def connect(self, service: int) -> Step:
        return self.dispatch.functions.connect(service, _reading(service, 1)), self.user

    def apply(self, service: int, units: int) -> Step:
        return self.dispatch.functions.applyFor(service, units, _reading(service, 1)), self.user

    def draw(self, units: int) -> Step:
        return self.dispatch.functions.draw(_SUPPLY, units, _reading(_SUPPLY, 1)), self.user

    def close(self) -> Step:
        return self.dispatch.functions.close(_SUPPLY, _reading(_SUPPLY, 1)), self.user

    def accept(self, units: int) -> Step:
        return self.dispatch.functions.accept(self.user.address, units, units * RULES.unit_wh), self.station_key


def _reading(service: int, units: int) -> int:
    """Watt-hours that the user's meter reads after `units`, rounded down."""
    sent, arriving = units * RULES.unit_wh, MAX_LOSS_BP - _LOSS_BP
    return sent * arriving // MAX_LOSS_BP if service == _SUPPLY else sent * MAX_LOSS_BP // arriving


def _account(name: str) -> LocalAccount:
    account: LocalAccount = Account.from_key(keccak(text=f"energyshare bench dispatch {name}"))
    return account
