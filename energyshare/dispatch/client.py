"""The scheduler client: a user's agent, or the company's for a user, that draws what was ordered and no unit more.

What is drawn is what the chain has on record of the user since the order's block: for supply every unit paid, for
acquisition every unit accepted, with those agreed on and not accepted yet under way. A unit that was paid and then
disputed counts: no right is ever paid back, and the dispute is the company's to resolve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from eth_account.signers.local import LocalAccount
from web3.contract.contract import ContractFunction
from web3.types import LogReceipt

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
    address_topic,
    connection_made,
    overtaken,
    topic_of,
)
from energyshare.dispatch.rules import Service, user_reading
from energyshare.dispatch.schedule import SERVICES, Connection, Schedule
from energyshare.errors import EnergyShareError, NonceTaken, TransactionReverted

__all__ = ["Order", "Register", "RegisterMeter", "SchedulerClient", "UserMeter"]

_STATION_EVENTS = {
    "Reported": 1,  # a flag returns, or the level changes
    "UnitTransferred": 1,  # of the other service: the level rises
    "UnitsReleased": 1,  # room and rights that were set aside
    "Disconnected": 2,  # one user less to keep a reserve for
    "Funded": 1,  # it can buy
    "Settled": 1,  # the next float
}
"""What can make a station available again, and which topic names the station."""

_OF_SETTLEMENT = ("Funded", "Settled")

_USER_EVENTS = ("LineSet", "LineRestored")
"""What can give a user another station; `StationRegistered` alone gives nobody a line."""


@dataclass(frozen=True, slots=True)
class Order:
    """Units that a user wants."""

    service: Service
    units: int
    since_block: int
    """Units of the user's from this block on count: the one after the chain's height when it was placed."""

    def __post_init__(self) -> None:
        if self.units < 1:
            raise EnergyShareError(f"an order of {self.units} units: order at least 1")


class UserMeter(Protocol):
    """The user's meter on its lines."""

    def reading_wh(self, service: Service, connection: EventReference) -> int | None:
        """Watt-hours since the connection was made: received for supply, sent for acquisition.

        None where it cannot be read now.
        """
        ...


class Register(Protocol):
    """A counter of a meter, which counts for ever."""

    def total_wh(self, service: Service) -> int | None:
        """All that it ever received (supply) or sent (acquisition); None where it cannot be read now."""
        ...


class RegisterMeter:
    """A `UserMeter` on a register that knows of no connections.

    Where the register stood when a connection was made is what the chain has on record: the sum of the readings with
    which the user's connections before it ended. So it needs no memory, and counts on three things: every connection
    ends with a reading (the client sees to that), no energy moves on none, and the register stood at `installed_wh`
    before the first. Energy that moved without a word on the chain, such as a sale that the station disputed, shifts
    what follows: give the meter a new `installed_wh` when the company has resolved it.
    """

    def __init__(
        self, schedule: Schedule, user: str, register: Register, installed_wh: Mapping[Service, int] | None = None
    ) -> None:
        self._schedule = schedule
        self._user = user
        self._register = register
        self._installed_wh = dict(installed_wh or {})
        self._known: tuple[EventReference, int] | None = None
        # What was read of the chain; after a reorganisation, and a restart, all is read anew.
        self._mark: Mark | None = None
        self._ended: dict[Service, _Ended] = {}

    def reading_wh(self, service: Service, connection: EventReference) -> int | None:
        total_wh = self._register.total_wh(service)
        if total_wh is None:
            return None
        if self._known is None or self._known[0] != connection:
            before_wh = self._before(service, connection)
            if before_wh is None:
                return None
            self._known = connection, before_wh
        baseline_wh = self._installed_wh.get(service, 0) + self._known[1]
        return max(0, total_wh - baseline_wh)  # one that runs backwards reads nothing, and is disputed

    def _before(self, service: Service, connection: EventReference) -> int | None:
        """What the connections before this one ended with; None where it is not the user's last any more."""
        schedule, chain, user = self._schedule, self._schedule.chain, address_topic(self._user)
        height, first = chain.height(), schedule.deployed_at
        if self._mark is not None and self._mark.holds(chain, height):
            first = self._mark.height + 1
        else:
            self._ended = dict.fromkeys(Service, _Ended())
        mark = Mark.at(chain, height)
        logs = [("Connected", log) for log in logs_of(chain, schedule.dispatch, "Connected", first, height, user)]
        for name in ("Metered", "MeterDisputed"):
            logs += [(name, log) for log in logs_of(chain, schedule.dispatch, name, first, height, None, user)]
        ended = dict(self._ended)
        for name, log in sorted(logs, key=lambda entry: (entry[1]["blockNumber"], entry[1]["logIndex"])):
            data = bytes(log["data"])
            of = SERVICES[_word(data, 0)]
            if name == "Connected":
                ended[of] = _Ended(EventReference.of(chain, log), ended[of].before_wh + ended[of].last_wh)
            elif not _word(data, 1):  # the user's, not the station's
                ended[of] = replace(ended[of], last_wh=_word(data, 3))
        self._mark, self._ended = mark, ended
        last = ended[service]
        return last.before_wh if last.connection == connection else None


@dataclass(frozen=True, slots=True)
class _Ended:
    """A user's last connection for a service, with the readings on record, in watt-hours."""

    connection: EventReference | None = None
    before_wh: int = 0
    """The sum of those with which the connections before it ended."""
    last_wh: int = 0
    """The last of its own."""


class SchedulerClient:
    """Serves one order. Stateless: see `energyshare.dispatch.agents`."""

    def __init__(
        self,
        schedule: Schedule,
        account: LocalAccount,
        order: Order,
        meter: UserMeter,
        commands: Commands | None = None,
        *,
        units_at_once: int = 1,
        patience_blocks: int | None = None,
        confirmations: int = 1,
        window_s: int = WINDOW_S,
    ) -> None:
        """
        Args:
            account: The user's key.
            commands: To the user's terminal, which sends what is sold; a sale needs it, a purchase does not.
            units_at_once: Drawn in a transaction, and so put at risk: one is what the design promises.
            patience_blocks: After a unit, how long the client waits for its energy or its acceptance. Then it closes
                with what its meter reads, which disputes what is missing. By default half of the rules' idle blocks,
                so that the user speaks before others may close the connection; never before the command for that
                unit has expired, since energy that came afterwards would be on no connection.
            confirmations: Blocks on top of a sale's agreement before the terminal is told to send, and on top of the
                last unit before the order is done. One costs a block of delay; a reorganisation that is deeper may
                cost the seller the unit that it had under way. 0 where blocks come with transactions only.
            window_s: How long commands hold from their event's block on, in seconds: those to the user's terminal, and
                those of the stations.
        """
        if order.service is Service.ACQUIRE and commands is None:
            raise EnergyShareError("a sale needs somebody to send the energy: name the way to the user's terminal")
        self.schedule = schedule
        self.account = account
        self.order = order
        self._meter = meter
        self._commands = commands
        self._units_at_once = units_at_once
        self._patience_blocks = patience_blocks or max(1, schedule.rules().idle_blocks // 2)
        self._confirmations = confirmations
        self._window_s = window_s
        self._user_topic = address_topic(account.address)
        self._user_topics = frozenset(topic_of(schedule.lines, name) for name in _USER_EVENTS)
        self._rules_topic = topic_of(schedule.dispatch, "RulesChanged")
        self._station_topics = {
            topic_of(contract, name): place
            for name, place in _STATION_EVENTS.items()
            for contract in (schedule.settlement if name in _OF_SETTLEMENT else schedule.dispatch,)
        }
        # What the last step found, to know cheaply when another one is worth it; nothing is decided by these.
        self._counted: tuple[Mark, int] | None = None
        self._metered: tuple[EventReference, int, int] | None = None
        self._stations: frozenset[bytes] = frozenset()
        self._waits: Act | None = None

    def __str__(self) -> str:
        return f"{self.account.address}, {self.order.units} units of {self.order.service}"

    def done(self, last: int | None = None) -> int:
        """Units of the order on record, up to the block `last` or the latest."""
        schedule, service, chain = self.schedule, SERVICES.index(self.order.service), self.schedule.chain
        last = chain.height() if last is None else last
        first, units = self.order.since_block, 0
        if self._counted is not None and self._counted[0].holds(chain, last):
            first, units = self._counted[0].height + 1, self._counted[1]
        mark = Mark.at(chain, last) if last - first >= _RECOUNTED else None
        logs = logs_of(chain, schedule.dispatch, "UnitTransferred", first, last, None, self._user_topic)
        units += sum(int.from_bytes(log["data"]) == service for log in logs)
        if mark is not None:
            self._counted = mark, units
        return units

    def step(self, wait: bool = True) -> Step:
        """One transaction at most. Raises EnergyShareError where nothing was done."""
        turn = Turn.begin(self.schedule.chain, self.account)
        if turn is None:
            step = Step(Act.WAITS_FOR_BLOCK, "a transaction of the user is on its way")
        else:
            try:
                step = self._step(turn, wait)
            except NonceTaken as error:
                step = overtaken(error)
            except TransactionReverted as error:
                if error.name not in _OVERTAKEN:
                    raise
                step = overtaken(error)
        self._waits = step.act if step.act.waits else None
        return step

    def close(self, wait: bool = True) -> Step:
        """End the user's connection, with its meter's last reading. What is not accepted of a sale is released.

        It waits for what is on its way until the command for that has expired: it would else come on no connection.
        """
        turn = Turn.begin(self.schedule.chain, self.account)
        if turn is None:
            return Step(Act.WAITS_FOR_BLOCK, "a transaction of the user is on its way")
        c, height = self._connection(), self.schedule.chain.height()
        if _is_over(c):
            return Step(Act.DONE, "no connection is open")
        reading_wh = self._reading(c, height)
        if reading_wh is None:
            return Step(Act.WAITS_FOR_METER, "the meter cannot be read")
        if (c.due or reading_wh < self._least(c)) and not self._expired(c, height):
            return Step(Act.WAITS_FOR_METER, f"{c.due or 'the last'} units are on their way")
        return self._close(turn, c, reading_wh, wait)

    def stirred(self, news: News | None) -> bool:
        if news is not None and news.reorganised:
            return True
        match self._waits:
            case Act.WAITS_FOR_METER:
                if self._metered is None:
                    return news is not None
                reference, needed_wh, deadline = self._metered
                if news is not None and news.height >= deadline:
                    return True
                return (self._meter.reading_wh(self.order.service, reference) or 0) >= needed_wh
            case Act.WAITS_FOR_STATION:
                return news is not None and any(map(self._may_help, news.logs))
        return news is not None

    # Inside

    def _step(self, turn: Turn, wait: bool) -> Step:
        c = self._connection()
        # Read after the connection: whatever the station accepted to make nothing due is on record by now.
        height = self.schedule.chain.height()
        if c.due:
            return self._sell(turn, c, height, wait)
        done = self.done(height)
        connected = c.open and self.schedule.is_connected(self.account.address, self.order.service)

        reading_wh = 0
        if c.delivered and (connected or c.acknowledged != c.delivered):
            made = self._made(height)
            reading_wh_or_none = self._meter.reading_wh(self.order.service, made)
            least_wh = self._least(c)
            if reading_wh_or_none is None or (reading_wh_or_none < least_wh and not self._overdue(c, height)):
                self._metered = (made, least_wh, c.active_block + self._patience_blocks)
                return Step(
                    Act.WAITS_FOR_METER,
                    f"the meter reads {reading_wh_or_none} Wh, not {least_wh}"
                    if reading_wh_or_none is not None
                    else "the meter cannot be read",
                )
            reading_wh = reading_wh_or_none
            if reading_wh < least_wh:
                return self._close(turn, c, reading_wh, wait)

        remaining = self.order.units - done
        if remaining <= 0:
            return self._finish(turn, c, reading_wh, height, wait)
        if self.order.service is Service.SUPPLY:
            step = self._pay(turn, c, reading_wh, remaining, done, wait)
            if step is not None:
                return step
        if connected:
            units = min(self._units_at_once, remaining)
            return self._act(turn, Act.DREW, self._function("draw", units, reading_wh), wait, units)
        assigned = self.schedule.assigned(self.account.address, self.order.service)
        if assigned is None:
            if not _is_over(c):
                return self._close(turn, c, reading_wh, wait)
            self._stations = frozenset(
                line.station.to_bytes(32) for line in self.schedule.lines_of(self.account.address) if not line.suspended
            )
            return Step(
                Act.WAITS_FOR_STATION,
                f"none of {len(self._stations)} stations is available" if self._stations else "no line can be used",
            )
        return self._act(turn, Act.CONNECTED, self._function("connect", reading_wh), wait, 1)

    def _pay(self, turn: Turn, c: Connection, reading_wh: int, remaining: int, done: int, wait: bool) -> Step | None:
        """See that the next unit can be paid. None where it can."""
        unit_wh = self.schedule.unit_wh
        affordable = self.schedule.affordable(self.account.address)
        if affordable >= remaining * unit_wh:
            return None
        held = self.schedule.user_rights(self.account.address)
        if held < unit_wh:
            if not _is_over(c):
                return self._close(turn, c, reading_wh, wait)
            return Step(
                Act.NO_RIGHTS,
                f"{done} of {self.order.units} units drawn, and {held} Wh of rights are left where a unit costs "
                f"{unit_wh}: buy rights, then go on",
            )
        if affordable >= held:
            return None
        approve = self.schedule.rights.functions.approve(self.schedule.settlement.address, remaining * unit_wh)
        return self._act(turn, Act.APPROVED, approve, wait, remaining)

    def _sell(self, turn: Turn, c: Connection, height: int, wait: bool) -> Step:
        """Have what is agreed on sent, and wait until the station accepts it."""
        made = connection_made(self.schedule, self.account.address, self.order.service, height)
        if made is not None and self._commands is not None:
            for movement in self._movements(c, made, height):
                self._commands.send(movement)
        if self._overdue(c, height):
            reading_wh = self._reading(c, height)
            if reading_wh is not None:
                return self._close(turn, c, reading_wh, wait)
        return Step(Act.WAITS_FOR_BLOCK, f"station {c.station} has not accepted {c.due} units")

    def _movements(self, c: Connection, made: LogReceipt, height: int) -> list[Movement]:
        """What the user is still to send, of agreements deep enough."""
        chain, agreed = self.schedule.chain, 0
        found = []
        for agreement in self.schedule.agreements(made["blockNumber"], height, self.account.address, c.station):
            before, agreed = agreed, agreed + agreement.units
            if agreed <= c.delivered or agreement.block > height - self._confirmations:
                continue
            sent_wh, total_wh = (
                user_reading(self.order.service, units * self.schedule.unit_wh, c.loss_bp) for units in (before, agreed)
            )
            timestamp = chain.header(agreement.block).timestamp
            found.append(
                Movement(
                    reference=EventReference(chain.chain_id, agreement.transaction_hash, agreement.log_index),
                    connection=EventReference.of(chain, made),
                    service=self.order.service,
                    user=self.account.address,
                    station=c.station,
                    energy_wh=total_wh - sent_wh,
                    not_before=timestamp,
                    expires=timestamp + self._window_s,
                )
            )
        return found

    def _finish(self, turn: Turn, c: Connection, reading_wh: int, height: int, wait: bool) -> Step:
        if not _is_over(c):
            return self._close(turn, c, reading_wh, wait)
        settled = max(height - self._confirmations, 0)
        if (settled >= self.order.since_block and self.done(settled) >= self.order.units) and _is_over(
            self._connection(settled)
        ):
            return Step(Act.DONE, f"{self.order.units} units of {self.order.service}")
        return Step(Act.WAITS_FOR_BLOCK, f"the last unit has fewer than {self._confirmations} blocks on top")

    def _close(self, turn: Turn, c: Connection, reading_wh: int, wait: bool) -> Step:
        return self._act(turn, Act.CLOSED, self._function("close", reading_wh), wait, c.delivered)

    def _act(self, turn: Turn, act: Act, function: ContractFunction, wait: bool, units: int) -> Step:
        digest, receipt = turn.take(function, wait)
        outcome = None if receipt is None else self.schedule.outcome(receipt)
        detail = f"{units} units" if outcome is None or outcome.end is None else f"{units} units, end: {outcome.end}"
        return Step(act, detail, digest, outcome)

    def _function(self, name: str, *args: int) -> ContractFunction:
        function: ContractFunction = self.schedule.dispatch.functions[name](SERVICES.index(self.order.service), *args)
        return function

    def _connection(self, block: int | None = None) -> Connection:
        function = self._function_of_connection()
        return Connection(*self.schedule.chain.call(function, "latest" if block is None else block))

    def _function_of_connection(self) -> ContractFunction:
        function: ContractFunction = self.schedule.dispatch.functions.connectionOf(
            self.account.address, SERVICES.index(self.order.service)
        )
        return function

    def _made(self, height: int) -> EventReference:
        made = connection_made(self.schedule, self.account.address, self.order.service, height)
        if made is None:
            raise EnergyShareError(f"the node knows no connection of {self.account.address}: wait until it is in step")
        return EventReference.of(self.schedule.chain, made)

    def _reading(self, c: Connection, height: int) -> int | None:
        """The meter on the connection, now."""
        return 0 if c.drawn == 0 else self._meter.reading_wh(self.order.service, self._made(height))

    def _overdue(self, c: Connection, height: int) -> bool:
        """Whether nothing is to be expected any more of what was drawn last."""
        return height >= c.active_block + self._patience_blocks and self._expired(c, height)

    def _expired(self, c: Connection, height: int) -> bool:
        """Whether no terminal may begin any more with what was drawn last."""
        chain = self.schedule.chain
        return chain.header(height).timestamp >= chain.header(c.active_block).timestamp + self._window_s

    def _least(self, c: Connection) -> int:
        """What the meter reads at least once all that was delivered has come through; a watt-hour a unit may round."""
        right_wh = user_reading(self.order.service, c.delivered * self.schedule.unit_wh, c.loss_bp)
        return max(0, right_wh - c.delivered)

    def _may_help(self, log: LogReceipt) -> bool:
        """Whether an event may have made a station available to the user."""
        kind, *indexed = (bytes(topic) for topic in log["topics"])
        if kind in self._user_topics:
            return indexed[0] == self._user_topic
        place = self._station_topics.get(kind)
        return kind == self._rules_topic or (place is not None and indexed[place - 1] in self._stations)


_RECOUNTED = 100
"""Blocks that are read again at each step, rather than remembered."""

_OVERTAKEN = frozenset({"AlreadyConnected", "NotConnected", "UnitsDue", "InsufficientRights"})
"""Refusals of what was possible when the step looked: a station, a keeper or a transfer came first."""


def _is_over(c: Connection) -> bool:
    """Whether nothing of a connection is left to say."""
    return not c.open and c.drawn == c.delivered == c.acknowledged


def _word(data: bytes, place: int) -> int:
    return int.from_bytes(data[32 * place : 32 * place + 32])
