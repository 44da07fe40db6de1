"""The commanding side: sends a party's commands to its terminals, again and again until each is answered for good.

Of what is heard it believes what the terminal signed, so that a broker can only withhold. `State` is not signed, since
a broker says it in a terminal's place: it decides whether to wait, and no unit moves for it.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from energyshare.errors import EnergyShareError
from energyshare.physical.link import BrokerAddress, Link
from energyshare.physical.messages import (
    Acknowledgement,
    Answer,
    Command,
    LineReading,
    M,
    MalformedMessage,
    MeterReading,
    Result,
    Statement,
    decode,
    encoded,
    message_hash,
)
from energyshare.physical.topics import State, Topics

__all__ = ["CommandRefused", "Exchange", "Gateway"]

logger = logging.getLogger(__name__)

R = TypeVar("R", MeterReading, LineReading)

RESEND_SECONDS = 5.0

FRESH_SECONDS = 120.0
"""How old a meter's reading may be. What is stored may fall without a register moving, so an old one could tell of
energy that is gone."""

LATE_SECONDS = 5
"""How long the broker keeps a command whose time is over: it asks what became of it."""


_AWAY = (State.LOST, State.DISCONNECTED)


class CommandRefused(EnergyShareError):
    """A terminal will never carry out this command."""

    def __init__(self, command: Command, acknowledgement: Acknowledgement) -> None:
        super().__init__(
            f"terminal {command.terminal} refuses command {command.cmd_id}: {acknowledgement.answer}"
            f" {acknowledgement.detail}".rstrip()
        )
        self.answer = acknowledgement.answer


@dataclass(frozen=True, slots=True)
class Exchange:
    """A command and what becomes of it."""

    command: Command
    result: Future[Result] = field(default_factory=Future)
    """Fails with CommandRefused, or LinkError where the broker does not take it."""
    answers: list[Answer] = field(default_factory=list)
    """All that the terminal said, in order."""


class Gateway:
    """Commands terminals and hears them.

    A command is sent again when its terminal comes back, when the broker comes back, and every few seconds while the
    terminal is there, until there is a result or a refusal for good. That is safe, since terminals know what they did;
    and needed, since a broker that restarts forgets. A terminal that never heard of a command answers `expired` when it
    is late, so that nothing stays open but for terminals that stay away.
    """

    def __init__(
        self,
        address: BrokerAddress,
        terminals: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.time,
        resend_seconds: float = RESEND_SECONDS,
    ) -> None:
        """
        Args:
            terminals: Their ids, and the addresses that sign what they tell.
            clock: Unix seconds; tells how long a broker need keep a command, and how old a reading is.
            resend_seconds: How long an unanswered command waits before it is sent again.
        """
        self._terminals = dict(terminals)
        self._clock = clock
        self._resend_seconds = resend_seconds
        self._open: dict[str, Exchange] = {}
        """By the command's id."""
        self._sent: dict[str, float] = {}
        """When each of them was sent, by the monotonic clock."""
        self._readings: dict[str, tuple[MeterReading, int]] = {}
        """With the Unix milliseconds when they were told."""
        self._lines: dict[str, tuple[LineReading, int]] = {}
        """The same, by topic."""
        self._states: dict[str, State] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._link = Link(address, keeps_session=False, on_ready=self._connected)
        for topics in map(Topics, terminals):
            self._link.subscribe(topics.state, self._state_heard)
            self._link.subscribe(topics.meter, self._hearing(MeterReading, self._reading_heard))
            self._link.subscribe(topics.line("+"), self._hearing(LineReading, self._line_heard))
            self._link.subscribe(topics.acknowledgement, self._hearing(Acknowledgement, self._acknowledged))
            self._link.subscribe(topics.result, self._hearing(Result, self._result_heard))
        self._resender = threading.Thread(target=self._resend, name=f"gateway {address.user}", daemon=True)

    def start(self) -> None:
        """Connect. Raises LinkError where the broker cannot be reached or refuses."""
        self._link.start()
        self._resender.start()

    def close(self) -> None:
        """Leave. Open commands stay open: send them again after a restart."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._resender.ident is not None:
            self._resender.join()
        self._link.close()

    def send(self, command: Command) -> Exchange:
        """Send a signed command.

        While it is open, the exchange is the same; when it is done, the terminal tells its result again.
        """
        with self._changed:
            exchange = self._open.get(command.cmd_id)
            if exchange is not None:
                return exchange
            exchange = self._open[command.cmd_id] = Exchange(command)
            self._sent[command.cmd_id] = time.monotonic()
        self._publish([exchange])
        return exchange

    def state(self, terminal: str) -> State | None:
        """What the terminal last said, or its will; None if it was never heard of."""
        return self._states.get(terminal)

    def reading(self, terminal: str) -> MeterReading | None:
        """The terminal's last reading; None if there was none yet, or it is old."""
        reading, told_ms = self._readings.get(terminal, (None, 0))
        return reading if abs(self._clock() - told_ms / 1_000) <= FRESH_SECONDS else None

    def line(self, terminal: str, user: str) -> LineReading | None:
        """What a station's meter on the line from `user`'s terminal shows; None if nothing came over it yet."""
        reading, _ = self._lines.get(Topics(terminal).line(user), (None, 0))
        return reading

    def open_commands(self, terminal: str) -> list[Command]:
        """Of those sent to a terminal, the ones that have neither a result nor a refusal for good."""
        with self._changed:
            commands = [exchange.command for exchange in self._open.values()]
        return [command for command in commands if command.terminal == terminal]

    def wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until something heard makes `condition` true."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def _publish(self, exchanges: Iterable[Exchange]) -> None:
        """Not to be called while `_changed` is held: the link's thread may hold the client's locks and want it."""
        for exchange in exchanges:
            command = exchange.command
            keep = min(max(int(command.expires - self._clock()), LATE_SECONDS), 2**32 - 1)
            sent = self._link.publish(Topics(command.terminal).command, encoded(command), expires_in=keep)
            sent.add_done_callback(functools.partial(self._taken, exchange))

    def _taken(self, exchange: Exchange, sent: Future[None]) -> None:
        error = sent.exception()
        if error is not None and self._end(exchange):
            exchange.result.set_exception(error)

    def _due(self, terminal: str | None = None, idle_seconds: float = 0) -> list[Exchange]:
        """What is open and to be sent again: for `terminal`, if it was not for so long.

        Nothing is, for a terminal that is away: the broker keeps what it was sent until it comes back.
        """
        now = time.monotonic()
        with self._changed:
            due = [
                exchange
                for exchange in self._open.values()
                if terminal in (None, exchange.command.terminal)
                and (terminal or self._states.get(exchange.command.terminal) not in _AWAY)
                and self._sent[exchange.command.cmd_id] <= now - idle_seconds
            ]
            self._sent.update((exchange.command.cmd_id, now) for exchange in due)
        return due

    def _end(self, exchange: Exchange) -> bool:
        """Whether it was open."""
        with self._changed:
            self._sent.pop(exchange.command.cmd_id, None)
            return self._open.pop(exchange.command.cmd_id, None) is not None

    def _resend(self) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, self._resend_seconds):
                    return
            if self._link.ready:
                self._publish(self._due(idle_seconds=self._resend_seconds))

    def _connected(self) -> None:
        self._publish(self._due())

    def _state_heard(self, topic: str, payload: bytes) -> None:
        terminal = Topics.terminal_of(topic)
        try:
            state = State(payload.decode())
        except ValueError:
            logger.warning("terminal %s says it is %r, which is no state", terminal, payload[:32])
            return
        with self._changed:
            came_back = state is State.READY and self._states.get(terminal) is not State.READY
            self._states[terminal] = state
            self._changed.notify_all()
        if came_back:
            self._publish(self._due(terminal))

    def _hearing(self, kind: type[M], heard: Callable[[str, M, int], None]) -> Callable[[str, bytes], None]:
        """Call `heard(topic, message, told_ms)` with what the topic's terminal signed."""

        def handler(topic: str, payload: bytes) -> None:
            terminal = Topics.terminal_of(topic)
            try:
                statement = decode(Statement, payload)
                if statement.signer(topic) != self._terminals[terminal]:
                    logger.warning(
                        "what came on %s is ignored: terminal %s did not sign it, whose address is to be %s",
                        *(topic, terminal, self._terminals[terminal]),
                    )
                    return
                message = decode(kind, statement.contents.encode())
            except MalformedMessage as error:
                logger.warning("on %s: %s", topic, error)
                return
            heard(topic, message, statement.told_ms)

        return handler

    def _reading_heard(self, topic: str, reading: MeterReading, told_ms: int) -> None:
        self._note(self._readings, Topics.terminal_of(topic), reading, told_ms)

    def _line_heard(self, topic: str, reading: LineReading, told_ms: int) -> None:
        self._note(self._lines, topic, reading, told_ms)

    def _note(self, known: dict[str, tuple[R, int]], of: str, reading: R, told_ms: int) -> None:
        """Unless it is an old one that comes again."""
        with self._changed:
            if of not in known or told_ms > known[of][1]:
                known[of] = reading, told_ms
                self._changed.notify_all()

    def _acknowledged(self, topic: str, acknowledgement: Acknowledgement, _told_ms: int) -> None:
        exchange = self._of(Topics.terminal_of(topic), acknowledgement.cmd_id)
        if exchange is None or acknowledgement.of != message_hash(encoded(exchange.command)):
            return
        with self._changed:
            exchange.answers.append(acknowledgement.answer)
            self._changed.notify_all()
        if acknowledgement.answer.final and self._end(exchange):
            exchange.result.set_exception(CommandRefused(exchange.command, acknowledgement))

    def _result_heard(self, topic: str, result: Result, _told_ms: int) -> None:
        exchange = self._of(Topics.terminal_of(topic), result.cmd_id)
        if exchange is not None and self._end(exchange):
            exchange.result.set_result(result)
            with self._changed:
                self._changed.notify_all()

    def _of(self, terminal: str, cmd_id: str | None) -> Exchange | None:
        """The exchange that a terminal speaks of, if it is its own."""
        exchange = self._open.get(cmd_id or "")
        return exchange if exchange and exchange.command.terminal == terminal else None
