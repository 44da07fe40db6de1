"""The scheduling contracts of one chain: what they hold, what was recorded, and every act that they take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.logs import DISCARD
from web3.types import BlockIdentifier, EventData, LogReceipt, TxReceipt

from energyshare.chain.connection import Chain
from energyshare.chain.events import events, logs_of
from energyshare.dispatch.dispatcher import Report, StationState
from energyshare.dispatch.rules import End, Rules, Service

__all__ = ["ENDS", "SERVICES", "Agreement", "Connection", "ListedLine", "Outcome", "Schedule", "UnitRecord"]

SERVICES = (Service.SUPPLY, Service.ACQUIRE)
"""As the contracts number them."""

ENDS = (End.STATION, End.LIMIT, End.RIGHTS, End.CLOSED, End.IDLE, End.DISPUTED)
"""As the contracts number them."""

_SAID = (None, False, True)
"""Of a flag in a report, as the contracts number it: left as it is, cleared, raised."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The last connection of a user for a service; `IDispatch.Connection`."""

    station: int
    """Its id, from 1; 0 where there never was one."""
    epoch: int
    loss_bp: int
    drawn: int
    """Units, as the others."""
    delivered: int
    acknowledged: int
    active_block: int
    open: bool
    """Whether nobody closed it; the station's epoch may have ended it still."""

    @property
    def due(self) -> int:
        """Units sold that the station has not accepted yet."""
        return self.drawn - self.delivered


@dataclass(frozen=True, slots=True)
class _Station:
    """`IStationRegistry.StationState`."""

    key: str
    capacity: int
    stored: int
    coming: int
    can_supply: bool
    can_acquire: bool
    connected_supply: int
    connected_acquire: int
    epoch_supply: int
    epoch_acquire: int
    transfers: int


@dataclass(frozen=True, slots=True)
class ListedLine:
    """A line as the contract lists it."""

    station: int
    loss_bp: int
    suspended: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a user's transaction came to."""

    station: int
    """Connected to by it, or 0."""
    units: int
    """Supplied, or agreed on for acquisition."""
    end: End | None
    """Why the connection ended with it; None where it goes on or there was none."""
    available: bool
    """False where an application found no station."""
    block_number: int


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """One unit for one right, as the chain has it on record (the paper's figure 23)."""

    user: str
    station: int
    service: Service
    block: int
    transaction_hash: bytes
    log_index: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """Units that a user is about to send to a station."""

    user: str
    station: int
    units: int
    block: int
    transaction_hash: bytes
    log_index: int


class Schedule:
    """The dispatch with its lines, settlement and rights. Stations go by their ids, users by their addresses.

    Acts raise TransactionReverted with the contract's error. Amounts in watt-hours, one right a watt-hour.
    """

    def __init__(self, chain: Chain, dispatch: str, deployed_at: int = 0) -> None:
        """`deployed_at` is the block where reading of events starts."""
        self.chain = chain
        self.deployed_at = deployed_at
        self.dispatch: Contract = chain.contract("Dispatch", dispatch)
        self.lines: Contract = chain.contract("LineRegistry", chain.call(self.dispatch.functions.LINES()))
        self.settlement: Contract = chain.contract("Settlement", chain.call(self.dispatch.functions.SETTLEMENT()))
        self.rights: Contract = chain.contract("EnergyRights", chain.call(self.settlement.functions.RIGHTS()))
        self._names = {keccak(text=event.signature): event.abi["name"] for event in self.dispatch.events}  # type: ignore[attr-defined]
        self.unit_wh = int(chain.call(self.dispatch.functions.UNIT()))

    # What is there

    def rules(self) -> Rules:
        """As they are now: their changes are on record as `RulesChanged`."""
        k, reserve_wh, idle_blocks = self.chain.call(self.dispatch.functions.rules())
        return Rules(k=k, reserve_wh=reserve_wh, unit_wh=self.unit_wh, idle_blocks=idle_blocks)

    def period_s(self) -> int:
        return int(self.chain.call(self.settlement.functions.period()))

    def station_count(self) -> int:
        return int(self.chain.call(self.dispatch.functions.stationCount()))

    def station(self, station: int, block: BlockIdentifier = "latest") -> StationState:
        """A station as the list has it."""
        held = self._station(station, block)
        return StationState(
            capacity=held.capacity,
            stored=held.stored,
            can_supply=held.can_supply,
            can_acquire=held.can_acquire,
            connected_supply=held.connected_supply,
            connected_acquire=held.connected_acquire,
            transfers=held.transfers,
        )

    def station_key(self, station: int) -> str:
        """Who reports and accepts for a station."""
        return to_checksum_address(self._station(station).key)

    def epoch(self, station: int, service: Service) -> int:
        """How often all users of a station were disconnected."""
        held = self._station(station)
        return held.epoch_supply if service is Service.SUPPLY else held.epoch_acquire

    def coming_wh(self, station: int, block: BlockIdentifier = "latest") -> int:
        """What users have agreed to send and the station has not accepted."""
        return self._station(station, block).coming

    def lines_of(self, user: str) -> list[ListedLine]:
        """Every line of a user in the order of assignment, suspended ones too."""
        return [ListedLine(*line) for line in self.chain.call(self.lines.functions.linesOf(user))]

    def connection(self, user: str, service: Service, block: BlockIdentifier = "latest") -> Connection:
        return Connection(*self.chain.call(self.dispatch.functions.connectionOf(user, SERVICES.index(service)), block))

    def is_connected(self, user: str, service: Service, block: BlockIdentifier = "latest") -> bool:
        return bool(self.chain.call(self.dispatch.functions.isConnected(user, SERVICES.index(service)), block))

    def assigned(self, user: str, service: Service) -> int | None:
        """Who would be assigned to a user now, after the stations' own checks; None for nobody."""
        station, _ = self.chain.call(self.dispatch.functions.assigned(user, SERVICES.index(service)))
        return station or None

    def station_rights(self, station: int) -> int:
        """What a station can spend."""
        return int(self.chain.call(self.settlement.functions.freeOf(station)))

    def period_end(self, station: int) -> int:
        """Unix seconds from which on a station may be settled."""
        _, _, start = self.chain.call(self.settlement.functions.accountOf(station))
        return int(start) + self.period_s()

    def user_rights(self, user: str) -> int:
        return int(self.chain.call(self.rights.functions.balanceOf(user)))

    def affordable(self, user: str) -> int:
        """What the settlement may take of a user's rights."""
        return int(self.chain.call(self.settlement.functions.affordable(user)))

    # What is on record

    def unit_records(
        self, first: int | None = None, last: int | None = None, user: str | None = None, station: int | None = None
    ) -> list[UnitRecord]:
        """Every unit in order, of blocks `first` to `last`, of one user or station or of all."""
        return [
            UnitRecord(
                _address(log["topics"][2]),
                int.from_bytes(log["topics"][1]),
                SERVICES[int.from_bytes(log["data"])],
                *_place(log),
            )
            for log in self._logs("UnitTransferred", first, last, station, user)
        ]

    def agreements(
        self, first: int | None = None, last: int | None = None, user: str | None = None, station: int | None = None
    ) -> list[Agreement]:
        """Every promise of units to a station, as `unit_records`."""
        return [
            Agreement(
                _address(log["topics"][2]),
                int.from_bytes(log["topics"][1]),
                int.from_bytes(log["data"]),
                *_place(log),
            )
            for log in self._logs("UnitsAgreed", first, last, station, user)
        ]

    def events(self, contract: Contract, name: str, first: int, last: int) -> Iterator[EventData]:
        """Decoded events of one of the contracts."""
        return events(self.chain, contract, name, first, last)

    # Acts of users

    def approve(self, account: LocalAccount, amount: int) -> None:
        """Let the settlement take so many of the user's rights, and no more, until it is said anew."""
        self.chain.transact(self.rights.functions.approve(self.settlement.address, amount), account)

    def connect(self, account: LocalAccount, service: Service, reading_wh: int) -> Outcome:
        return self._act(self.dispatch.functions.connect(SERVICES.index(service), reading_wh), account)

    def draw(self, account: LocalAccount, service: Service, units: int, reading_wh: int) -> Outcome:
        return self._act(self.dispatch.functions.draw(SERVICES.index(service), units, reading_wh), account)

    def close(self, account: LocalAccount, service: Service, reading_wh: int) -> Outcome:
        return self._act(self.dispatch.functions.close(SERVICES.index(service), reading_wh), account)

    def apply(self, account: LocalAccount, service: Service, units: int, reading_wh: int) -> Outcome:
        """One connection's worth of an application; what is missing is applied for again."""
        return self._act(self.dispatch.functions.applyFor(SERVICES.index(service), units, reading_wh), account)

    def close_idle(self, account: LocalAccount, user: str, service: Service) -> Outcome:
        """Close somebody's connection that was idle too long."""
        return self._act(self.dispatch.functions.closeIdle(user, SERVICES.index(service)), account)

    # Acts of stations

    def report(self, account: LocalAccount, station: int, report: Report) -> None:
        """A station's word on itself; fields that are None stay as they are."""
        self.chain.transact(self.report_call(station, report), account)

    def report_call(self, station: int, report: Report) -> ContractFunction:
        """The call of `report`, for whoever sends many."""
        said = (
            *(report.transfers, report.stored is not None, report.stored or 0),
            *(_SAID.index(report.can_supply), _SAID.index(report.can_acquire)),
        )
        return self.dispatch.functions.report(station, said)

    def accept(self, account: LocalAccount, user: str, units: int, reading_wh: int) -> bool:
        """Accept units that a user sold, and so pay for them. False where the reading is disputed."""
        receipt = self.chain.transact(self.dispatch.functions.accept(user, units, reading_wh), account)
        return all(self._names.get(bytes(log["topics"][0])) != "MeterDisputed" for log in self._own(receipt))

    # Acts of the company, and of anybody

    def register(self, account: LocalAccount, key: str, state: StationState) -> None:
        """Add a station; its id is the number of stations then."""
        terms = (
            *(key, state.capacity, state.stored, state.connected_supply, state.connected_acquire),
            *(state.can_supply, state.can_acquire),
        )
        self.chain.transact(self.dispatch.functions.register(terms), account)

    def set_lines(self, account: LocalAccount, user: str, lines: Sequence[tuple[int, int]]) -> None:
        """Make lines of a user, each a station and a loss in basis points."""
        self.chain.transact(self.lines.functions.setLines(user, list(lines)), account)

    def restore_line(self, account: LocalAccount, user: str, station: int) -> None:
        """End a line's suspension: its dispute is resolved."""
        self.chain.transact(self.lines.functions.restoreLine(user, station), account)

    def set_float(self, account: LocalAccount, station: int, amount: int) -> None:
        self.chain.transact(self.settlement.functions.setFloat(station, amount), account)

    def fund(self, account: LocalAccount, station: int, amount: int) -> None:
        """Add to a station's rights, out of the account's; the settlement needs its allowance."""
        self.chain.transact(self.settlement.functions.fund(station, amount), account)

    def settle(self, account: LocalAccount, station: int) -> tuple[int, int]:
        """End a station's period. Returns what the company got and what it granted."""
        receipt = self.chain.transact(self.settlement.functions.settle(station), account)
        (settled,) = self.settlement.events.Settled().process_receipt(receipt, errors=DISCARD)
        return int(settled["args"]["paid"]), int(settled["args"]["granted"])

    def _act(self, function: ContractFunction, account: LocalAccount) -> Outcome:
        return self.outcome(self.chain.transact(function, account))

    def outcome(self, receipt: TxReceipt) -> Outcome:
        """What a user's transaction came to, by its receipt."""
        station = units = 0
        end, available = None, True
        for log in self._own(receipt):
            match self._names.get(bytes(log["topics"][0])):
                case "Connected":
                    station = int.from_bytes(log["topics"][2])
                case "UnitTransferred":
                    units += 1
                case "UnitsAgreed":
                    units += int.from_bytes(log["data"])
                case "Disconnected":
                    end = ENDS[int.from_bytes(log["data"][-32:])]
                case "NoStationAvailable":
                    available = False
        return Outcome(station, units, end, available, receipt["blockNumber"])

    def _own(self, receipt: TxReceipt) -> list[LogReceipt]:
        return [log for log in receipt["logs"] if log["address"] == self.dispatch.address]

    def _logs(
        self, name: str, first: int | None, last: int | None, station: int | None, user: str | None
    ) -> list[LogReceipt]:
        return logs_of(
            self.chain,
            self.dispatch,
            name,
            self.deployed_at if first is None else first,
            self.chain.height() if last is None else last,
            None if station is None else station.to_bytes(32),
            None if user is None else bytes.fromhex(user[2:]).rjust(32, b"\0"),
        )

    def _station(self, station: int, block: BlockIdentifier = "latest") -> _Station:
        return _Station(*self.chain.call(self.dispatch.functions.stationState(station), block))


def _address(topic: bytes) -> str:
    return to_checksum_address(bytes(topic)[-20:])


def _place(log: LogReceipt) -> tuple[int, bytes, int]:
    return log["blockNumber"], bytes(log["transactionHash"]), log["logIndex"]
