"""A terminal: it obeys signed commands, moves energy once for each, and tells what its meter says, signed.

What is to be moved is noted on disk with the meter's reading, then moved, then noted with the meter's reading after. A
terminal that died in between finds the note when it starts, waits until its device is idle, and lets the meter tell
what came of it. So nothing moves twice and no result is lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import ClassVar

from eth_account.signers.local import LocalAccount

from energyshare.dispatch.rules import Service
from energyshare.physical.device import Device, DeviceError, LineMeters, Transfer
from energyshare.physical.journal import Entry, Journal, JournalError
from energyshare.physical.link import BrokerAddress, Link, Will
from energyshare.physical.messages import (
    Acknowledgement,
    Answer,
    Command,
    LineReading,
    MalformedMessage,
    MeterReading,
    Outcome,
    Result,
    Statement,
    Told,
    decode,
    encoded,
    message_hash,
)
from energyshare.physical.topics import State, Topics

__all__ = ["StationTerminal", "Terminal", "UserTerminal"]

logger = logging.getLogger(__name__)

MAX_WAITING = 100
"""Commands that wait for the device; more are told that it is busy."""

REMEMBERED_SECONDS = 3_600
"""How long after a command expired its result can still be asked for."""

FORGET_SECONDS = 60
"""How often older ones are forgotten."""

POLL_SECONDS = 1.0
"""How often a terminal looks at its meter when nothing happens."""

RETELL_SECONDS = 30.0
"""After which a reading that stays the same is told anew: gateways believe no old ones."""


class Terminal:
    """One device and who may command it. Use StationTerminal or UserTerminal."""

    service: ClassVar[Service]
    """What its commands must be for."""

    def __init__(
        self,
        terminal: str,
        device: Device,
        address: BrokerAddress,
        *,
        account: LocalAccount,
        trusted: str,
        journal: Path | None,
        clock: Callable[[], float] = time.time,
        on_result: Callable[[Command, Result], None] = lambda command, result: None,
    ) -> None:
        """
        Args:
            terminal: Its id, a level of a topic.
            account: Its own key, which signs what it tells, and nothing else anywhere.
            trusted: The address whose signature it obeys.
            journal: Where it notes what it does; None for a simulation that nothing survives.
            clock: Unix seconds.
            on_result: Called with what each command came to.
        """
        self.terminal = terminal
        self._topics = Topics(terminal)
        self._device = device
        self._account = account
        self._trusted = trusted
        self._clock = clock
        self._on_result = on_result
        self._journal = Journal(journal)
        self._link = Link(address, will=Will(self._topics.state, State.LOST.encode()), on_ready=self._connected)
        self._link.subscribe(self._topics.command, self._received)
        self._waiting: dict[str, Command] = {}
        """By id, in order: one that is sent again keeps its place."""
        self._changed = threading.Condition()
        self._look = False
        """Whether the meter may have moved."""
        self._told: MeterReading | None = None
        """The reading that the broker retains, None where it must be told."""
        self._told_at = 0.0
        """When it was told."""
        self._statement_ms = 0
        """When the last statement was made."""
        self._stating = threading.Lock()
        self._tell_anew = False
        """Whether the broker may have forgotten what it was told."""
        self._state: State | None = None
        self._trouble = ""
        """What keeps it from its work, said once."""
        self._closing = False
        self._failure: Exception | None = None
        self._worker = threading.Thread(target=self._work, name=f"terminal {terminal}", daemon=True)
        device.watch(self._meter_moved)

    def start(self) -> None:
        """Connect and begin to obey. Raises LinkError where the broker cannot be reached or refuses."""
        self._link.start()
        self._worker.start()

    def check(self) -> None:
        """Raise what has ended its work since `start`, if anything has."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Finish what is being moved, and leave."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._worker.ident is not None:
            self._worker.join()
            if self._link.ready:
                wait([self._tell_state(State.DISCONNECTED)], timeout=10)
            self._link.close()
        self._journal.close()

    # In the link's thread.

    def _connected(self) -> None:
        self._link.publish(self._topics.state, State.INIT.encode(), retain=True)
        with self._changed:
            self._tell_anew = self._look = True
            self._changed.notify()

    def _received(self, _topic: str, payload: bytes) -> None:
        try:
            command = decode(Command, payload)
        except MalformedMessage as error:
            logger.warning("terminal %s: %s", self.terminal, error)
            answer = Acknowledgement(message_hash(payload), None, Answer.MALFORMED, str(error))
            self._tell(self._topics.acknowledgement, answer)
            return
        try:
            refusal = self._judge(command)
            if refusal is not None:
                self._answer(command, refusal)
                return
        except JournalError as error:
            self._answer(command, Answer.BUSY, str(error))
            return
        with self._changed:
            self._waiting.setdefault(command.cmd_id, command)
            self._changed.notify()

    def _judge(self, command: Command) -> Answer | None:
        """Why not to carry out a command; None where it is to be."""
        if command.signer != self._trusted:
            return Answer.FORGED
        if command.terminal != self.terminal or command.service is not self.service:
            return Answer.UNSUPPORTED
        if self._journal.find(command.cmd_id) is not None:
            return Answer.DUPLICATE
        now = self._clock()
        if now < command.not_before:
            return Answer.EARLY
        if max(now, self._journal.forgotten) >= command.expires:
            return Answer.EXPIRED
        return Answer.BUSY if len(self._waiting) >= MAX_WAITING and command.cmd_id not in self._waiting else None

    def _answer(self, command: Command, answer: Answer, detail: str = "") -> None:
        if not answer.accepted:
            logger.warning("terminal %s refuses command %s: %s %s", self.terminal, command.cmd_id, answer, detail)
        acknowledgement = Acknowledgement(message_hash(encoded(command)), command.cmd_id, answer, detail)
        self._tell(self._topics.acknowledgement, acknowledgement)
        if answer is Answer.DUPLICATE:
            entry = self._journal.find(command.cmd_id)
            if entry is not None and entry.result is not None:
                self._tell(self._topics.result, entry.result)

    # In the device's thread, or whoever moves its meter.

    def _meter_moved(self) -> None:
        with self._changed:
            self._look = True
            self._changed.notify()

    # In the worker's thread.

    def _work(self) -> None:
        try:
            while not self._closing:
                self._look_after()
        except Exception as error:
            # It would obey no more: the broker says its will, and whoever started it is told.
            self._failure = error
            logger.exception("terminal %s ends", self.terminal)
            self._link.close(says_will=True)

    def _look_after(self) -> None:
        """Do what is due; then wait until the meter may have moved or a command comes."""
        with self._changed:
            if self._tell_anew:
                self._told = self._state = None
                self._tell_anew = False
        try:
            settled = self._settled()
            while settled and self._waiting and not self._closing:
                self._carry_out(self._next())
            self._forget()
            self._tell_reading(self._device.read())
            if self._state is not State.READY:
                self._tell_state(State.READY)
            self._trouble = ""
        except (DeviceError, JournalError) as error:
            settled = False
            if str(error) != self._trouble:
                self._trouble = str(error)
                logger.warning("terminal %s: %s", self.terminal, error)
            if self._state is State.READY:
                self._tell_state(State.SLEEPING)
        with self._changed:
            if not (self._look or self._closing or (settled and self._waiting)):
                self._changed.wait(POLL_SECONDS)
            self._look = False

    def _next(self) -> Command:
        with self._changed:
            return self._waiting.pop(next(iter(self._waiting)))

    def _forget(self) -> None:
        expired = int(self._clock()) - REMEMBERED_SECONDS
        if expired >= self._journal.forgotten + FORGET_SECONDS:
            self._journal.forget(expired)

    def _settled(self) -> bool:
        """Find out what came of what was begun. False while the device is still at it."""
        unfinished = self._journal.unfinished()
        if unfinished and not self._device.idle():
            return False
        for entry in unfinished:
            self._finish(entry, "interrupted")
        return True

    def _carry_out(self, command: Command) -> None:
        answer = self._judge(command)  # it may have waited for long, or twice
        if answer is not None and answer is not Answer.BUSY:
            self._answer(command, answer)
            return
        try:
            entry = Entry(command, self._device.read(), None)
            begun = self._journal.begin(command, entry.before)
        except (DeviceError, JournalError) as error:
            self._answer(command, Answer.BUSY, str(error))
            raise
        self._answer(command, Answer.ACCEPTED if begun else Answer.DUPLICATE)
        if not begun:
            return
        self._finish(entry, self._move(command))

    def _move(self, command: Command) -> str:
        """Let the device do it, and tell meanwhile what the meter shows. Returns why it fell short, if it did."""
        moved: Future[None] = Future()

        def inject() -> None:
            try:
                self._device.inject(Transfer(command.energy_wh, command.power_w, command.peer, command.connection))
                moved.set_result(None)
            except Exception as error:
                moved.set_exception(error)

        threading.Thread(target=inject, name=f"device of {self.terminal}", daemon=True).start()
        while not wait([moved], POLL_SECONDS).done:
            try:
                self._tell_reading(self._device.read())
            except DeviceError as error:
                logger.warning("terminal %s: %s", self.terminal, error)
        try:
            moved.result()
        except DeviceError as error:
            return str(error)
        return ""

    def _finish(self, entry: Entry, detail: str) -> None:
        after = self._device.read()
        moved = max(0, after.injected_wh - entry.before.injected_wh)  # a meter that was reset meanwhile says nothing
        if moved >= entry.command.energy_wh:
            outcome, detail = Outcome.COMPLETE, ""
        else:
            outcome = Outcome.PARTIAL if moved else Outcome.FAILED
        result = Result(entry.command.cmd_id, outcome, moved, entry.before, after, detail)
        self._journal.finish(result)
        self._tell_reading(after)
        self._tell(self._topics.result, result)
        self._on_result(entry.command, result)

    def _tell_reading(self, reading: MeterReading) -> None:
        """Have the broker retain it. While that is away nothing piles up: it is told all anew when it is back."""
        now = self._clock()
        if self._link.ready and (reading != self._told or not 0 <= now - self._told_at < RETELL_SECONDS):
            self._tell(self._topics.meter, reading, retain=True)
            self._told, self._told_at = reading, now

    def _tell(self, topic: str, message: Told, *, retain: bool = False) -> None:
        with self._stating:
            self._statement_ms = max(self._statement_ms + 1, int(self._clock() * 1_000))
            statement = Statement.make(topic, message, self._statement_ms, self._account)
        self._link.publish(topic, encoded(statement), retain=retain)

    def _tell_state(self, state: State) -> Future[None]:
        self._state = state
        return self._link.publish(self._topics.state, state.encode(), retain=True)


class StationTerminal(Terminal):
    """At a station's storage: supplies users, and tells what comes from them."""

    service = Service.SUPPLY

    def __init__(
        self,
        terminal: str,
        device: Device,
        address: BrokerAddress,
        *,
        account: LocalAccount,
        trusted: str,
        journal: Path | None,
        clock: Callable[[], float] = time.time,
        on_result: Callable[[Command, Result], None] = lambda command, result: None,
        meters: LineMeters | None = None,
    ) -> None:
        """As every terminal, and `meters`: those on the lines; without them the station can accept no sale."""
        super().__init__(
            terminal,
            device,
            address,
            account=account,
            trusted=trusted,
            journal=journal,
            clock=clock,
            on_result=on_result,
        )
        self._meters = meters
        self._told_lines: dict[str, LineReading] = {}

    def _tell_reading(self, reading: MeterReading) -> None:
        if not self._link.ready:
            return
        if self._told is None:
            self._told_lines.clear()
        for user, received in self._meters.received().items() if self._meters is not None else ():
            if self._told_lines.get(user) != received:
                self._tell(self._topics.line(user), received, retain=True)
                self._told_lines[user] = received
        super()._tell_reading(reading)


class UserTerminal(Terminal):
    """At a user's meter: sends energy to stations."""

    service = Service.ACQUIRE
