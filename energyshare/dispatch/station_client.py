"""The station's agent: has paid units supplied, accepts what was sold once its meter shows it, reports and settles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from energyshare.chain.events import logs_of
from energyshare.dispatch.agents import (
    WINDOW_S,
    Act,
    Commands,
    EventReference,
    Mark,
    Movement,
    News,
    Step,
    Turn,
    backwards,
    connection_made,
    overtaken,
)
from energyshare.dispatch.dispatcher import Report, StationState
from energyshare.dispatch.keeper import Keeper
from energyshare.dispatch.rules import Rules, Service
from energyshare.dispatch.schedule import SERVICES, Connection, Schedule
from energyshare.errors import EnergyShareError, NonceTaken, TransactionReverted

__all__ = ["ReportPolicy", "StationClient", "StationMeter", "Storage"]

ReportPolicy = Callable[[int, StationState, Rules], Report | None]
"""Whether what is stored, in watt-hours, deserves a report, given what the chain has of the station; which one.

The capacity given is without the room that is set aside for what users are about to send."""


@dataclass(frozen=True, slots=True)
class Storage:
    """What a station's terminal says of its storage, all at one moment."""

    stored_wh: int
    outstanding_wh: int
    """Of the commands that were sent to it, what has not left yet and still may."""


_Due = tuple[str, Connection, int | None]
"""A user, its connection with units to be accepted, and what the meter on its line reads."""


class StationMeter(Protocol):
    """The meters of a station."""

    def received_wh(self, user: str, connection: EventReference) -> int | None:
        """Received from a user since the connection was made; None where it cannot be read now."""
        ...

    def storage(self) -> Storage | None:
        """None where it cannot be read now."""
        ...


class StationClient:
    """Acts for one station. Stateless: see `energyshare.dispatch.agents`."""

    def __init__(
        self,
        schedule: Schedule,
        station: int,
        account: LocalAccount,
        commands: Commands,
        meter: StationMeter,
        policy: ReportPolicy,
        *,
        confirmations: int = 1,
        window_s: int = WINDOW_S,
        patience_blocks: int | None = None,
        keeps: bool = True,
    ) -> None:
        """
        Args:
            station: Its id.
            account: Its key.
            commands: To its terminal, which supplies what was paid.
            policy: When its state deserves a report.
            confirmations: Blocks on top of a payment before its unit is supplied. What a deeper reorganisation takes
                back has been supplied for nothing: with one unit a transaction, one unit of each user. 0 where blocks
                come with transactions only.
            window_s: How long a command holds from its event's block on, in seconds; one that a terminal missed is
                not supplied, and the user's meter says so.
            patience_blocks: After a sale's last unit, how long the station waits for the rest before it accepts the
                units that came. By default a quarter of the rules' idle blocks.
            keeps: Whether it also closes idle connections and settles its period when that is over.
        """
        registered = schedule.station_key(station)
        if registered != account.address:
            raise EnergyShareError(
                f"station {station} is {registered}, and the key at hand {account.address}: use the station's key"
            )
        self.schedule = schedule
        self.station = station
        self.account = account
        self._commands = commands
        self._meter = meter
        self._policy = policy
        self._confirmations = confirmations
        self._window_s = window_s
        self._patience_blocks = patience_blocks or max(1, schedule.rules().idle_blocks // 4)
        self._keeper = Keeper(schedule, account, [station]) if keeps else None
        # Up to where commands were sent, so as not to send all of the window at each step; lost without harm.
        self._commanded: Mark | None = None
        # What its meters said last, to see when they move.
        self._storage: Storage | None = None
        self._received_wh: dict[tuple[str, EventReference], int | None] = {}

    def __str__(self) -> str:
        return f"station {self.station}"

    def step(self, wait: bool = True) -> Step:
        """Send the commands that are due; then accept what users sold, else one transaction at most.

        Raises:
            EnergyShareError: It may be tried again; a command sent twice moves nothing twice.
        """
        height = self.schedule.chain.height()
        self.command(height - self._confirmations)
        turn = Turn.begin(self.schedule.chain, self.account)
        if turn is None:
            return Step(Act.WAITS_FOR_BLOCK, "a transaction of the station is on its way")
        coming_wh = self.schedule.coming_wh(self.station)
        try:
            # Read once: a meter that moves after this is seen to have moved.
            dues = self._dues(height, coming_wh)
            step = self._accept(turn, height, dues, wait) or self._report(turn, height, coming_wh, dues, wait)
            if step is None and self._keeper is not None and self._keeper.stirred(News(height, (), reorganised=False)):
                step = self._keeper.keep(turn, wait)
        except NonceTaken as error:
            return overtaken(error)
        except TransactionReverted as error:
            if error.name not in _OVERTAKEN:
                raise
            return overtaken(error)
        return step or Step(Act.WAITS_FOR_METER, "nothing is due")

    def stirred(self, news: News | None) -> bool:
        """With each block, and when a meter has moved."""
        return (
            news is not None
            or self._meter.storage() != self._storage
            or any(self._meter.received_wh(*which) != reading_wh for which, reading_wh in self._received_wh.items())
        )

    def command(self, height: int) -> None:
        """Have every unit supplied that was paid up to the block `height` and whose command has not expired."""
        if height < 0:
            return
        mark = Mark.at(self.schedule.chain, height)
        for movement in self._movements(self._first_uncommanded(height), height):
            self._commands.send(movement)
        self._commanded = mark

    # Inside

    def _first_uncommanded(self, height: int) -> int:
        """The block after those that were commanded, if they are there still; else the first within the window."""
        chain = self.schedule.chain
        if self._commanded is not None and self._commanded.holds(chain, height):
            return self._commanded.height + 1
        earliest = chain.header(height).timestamp - self._window_s
        low, high = self.schedule.deployed_at, height + 1
        while low < high:
            middle = (low + high) // 2
            if chain.header(middle).timestamp > earliest:
                high = middle
            else:
                low = middle + 1
        return low

    def _movements(self, first: int, last: int) -> list[Movement]:
        chain = self.schedule.chain
        found = []
        for record in self.schedule.unit_records(first, last, station=self.station):
            if record.service is not Service.SUPPLY:
                continue
            made = connection_made(self.schedule, record.user, record.service, record.block, record.log_index)
            if made is None:
                continue  # gone with a reorganisation while it was read
            timestamp = chain.header(record.block).timestamp
            found.append(
                Movement(
                    reference=EventReference(chain.chain_id, record.transaction_hash, record.log_index),
                    connection=EventReference.of(chain, made),
                    service=record.service,
                    user=record.user,
                    station=self.station,
                    energy_wh=self.schedule.unit_wh,
                    not_before=timestamp,
                    expires=timestamp + self._window_s,
                )
            )
        return found

    def _dues(self, height: int, coming_wh: int) -> list[_Due]:
        """Users whose units are to be accepted, with the meter. What is coming says how many there are to be found."""
        schedule = self.schedule
        self._received_wh = {}
        dues: dict[str, _Due | None] = {}
        agreed = backwards(
            schedule.chain,
            schedule.dispatch,
            "UnitsAgreed",
            schedule.deployed_at,
            height,
            self.station.to_bytes(32),
        )
        while coming_wh > 0 and (log := next(agreed, None)) is not None:
            user = to_checksum_address(bytes(log["topics"][2])[-20:])
            if user in dues:
                continue
            dues[user] = None
            c = schedule.connection(user, Service.ACQUIRE)
            if c.station != self.station or not c.due:
                continue
            # Searched up to now, not to `height`: an older connection's reading would be held against this one.
            made = connection_made(schedule, user, Service.ACQUIRE, schedule.chain.height())
            if made is None:
                continue
            which = user, EventReference.of(schedule.chain, made)
            self._received_wh[which] = self._meter.received_wh(*which)
            dues[user] = (user, c, self._received_wh[which])
            coming_wh -= c.due * schedule.unit_wh
        return [due for due in dues.values() if due is not None]

    def _accept(self, turn: Turn, height: int, dues: Sequence[_Due], wait: bool) -> Step | None:
        """Accept what has come of each user's units: all, or after a while those that came."""
        schedule, unit_wh = self.schedule, self.schedule.unit_wh
        sent: list[bytes] = []
        accepted = 0
        for user, c, reading_wh in dues:
            if reading_wh is None:
                continue
            # A watt-hour a unit may be lost to rounding.
            came = min(c.due, reading_wh // max(1, unit_wh - 1) - c.delivered)
            overdue = height >= c.active_block + self._patience_blocks
            if came < 1 or (came < c.due and not overdue):
                continue
            # Of units that are accepted in part the meter says when they had come, not what came after them.
            said_wh = reading_wh if came == c.due else min(reading_wh, (c.delivered + came) * unit_wh)
            try:
                digest, _ = turn.take(schedule.dispatch.functions.accept(user, came, said_wh), wait=False)
            except TransactionReverted as error:
                if error.name not in _OVERTAKEN:
                    raise
                overtaken(error)
                continue
            sent.append(digest)
            accepted += came
            turn = turn.next()
            if len(sent) == _ACCEPTED_AT_ONCE:
                break
        if not sent:
            return None
        if wait:
            schedule.chain.wait_receipts(sent)
        return Step(Act.ACCEPTED, f"{accepted} units of {len(sent)} users", sent[-1])

    def _report(self, turn: Turn, height: int, coming_wh: int, dues: Sequence[_Due], wait: bool) -> Step | None:
        """Say what has changed, if it matters. Numbers that units overtake meanwhile are read anew at the next step."""
        listed = self.schedule.station(self.station)
        # Room that is set aside for what is coming is no room.
        chain_says = replace(listed, capacity=listed.capacity - coming_wh)
        stored_wh = self._stored(height, chain_says, dues)
        if stored_wh is None:
            return None
        report = self._policy(stored_wh, chain_says, self.schedule.rules())
        if report is None:
            return None
        digest, _ = turn.take(self.schedule.report_call(self.station, report), wait)
        return Step(
            Act.REPORTED, f"{report.stored} Wh, supply {report.can_supply}, acquire {report.can_acquire}", digest
        )

    def _stored(self, height: int, chain_says: StationState, dues: Sequence[_Due]) -> int | None:
        """What the storage holds once all is settled that the chain has counted, and nothing that it has not.

        Without what is paid and has not left yet, and without what has come and is not accepted yet.
        """
        storage = self._storage = self._meter.storage()
        if storage is None:
            return None
        unit_wh = self.schedule.unit_wh
        late = logs_of(
            self.schedule.chain,
            self.schedule.dispatch,
            "UnitTransferred",
            height - self._confirmations + 1,
            self.schedule.chain.height(),
            self.station.to_bytes(32),
        )
        uncommanded = sum(SERVICES[int.from_bytes(log["data"])] is Service.SUPPLY for log in late)
        unaccepted_wh = 0
        for _, c, received_wh in dues:
            if received_wh is None:
                return None
            unaccepted_wh += max(0, received_wh - c.delivered * unit_wh)
        stored_wh = storage.stored_wh - storage.outstanding_wh - uncommanded * unit_wh - unaccepted_wh
        return min(max(0, stored_wh), chain_says.capacity)


_ACCEPTED_AT_ONCE = 50
"""Transactions of a step: more wait for the next one."""

_OVERTAKEN = frozenset({"NotDue", "ReportOvertaken", "NotConnected", "NotIdle", "PeriodNotOver"})
"""Refusals of what was possible when the step looked: units, a user, a keeper or a reorganisation came first."""
