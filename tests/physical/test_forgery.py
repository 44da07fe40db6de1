"""A broker that lies, or a stolen account: what a terminal did not sign, or said long ago, is not believed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from energyshare.dispatch.rules import Service
from energyshare.physical.broker import Broker
from energyshare.physical.device import Transfer
from energyshare.physical.gateway import FRESH_SECONDS, Gateway
from energyshare.physical.link import Link
from energyshare.physical.messages import (
    Acknowledgement,
    Answer,
    Command,
    LineReading,
    MeterReading,
    Outcome,
    Result,
    Statement,
    Told,
    encoded,
    message_hash,
)
from energyshare.physical.terminal import RETELL_SECONDS
from energyshare.physical.topics import State, Topics
from tests.physical.grid import ADDRESSES, KEYS, STATION, UNIT_WH, USER, Clock, Grid, event

TIMEOUT = 10
THIEF = Account.from_key(b"\x66" * 32)
LINE = Topics(STATION).line(USER)
METER = Topics(STATION).meter
OLD, NOW, LIE = MeterReading(1_000, 0, 40_000, 9_000), MeterReading(2_000, 0, 40_000, 8_000), MeterReading(9_000, 9_000)


@dataclass
class Liar:
    """Says on a terminal's topics whatever it likes, to a gateway that hears nobody else."""

    link: Link
    gateway: Gateway
    clock: Clock
    ignored: Callable[[], int]
    _marks: int = field(default=0)

    def say(self, topic: str, payload: bytes) -> None:
        self.link.publish(topic, payload, retain=True).result(TIMEOUT)

    def state(self, topic: str, message: Told, account: LocalAccount, ago_s: float = 0) -> None:
        """Signed with `account`."""
        self.say(topic, encoded(Statement.make(topic, message, int((self.clock() - ago_s) * 1_000), account)))

    def until_heard(self) -> None:
        """All that was said so far: one connection's messages come in order."""
        mark = State.INIT if self._marks % 2 else State.READY
        self._marks += 1
        self.say(Topics(STATION).state, mark.encode())
        assert self.gateway.wait_for(lambda: self.gateway.state(STATION) is mark, TIMEOUT)


@pytest.fixture
def liar(broker: Broker, caplog: pytest.LogCaptureFixture) -> Iterator[Liar]:
    clock = Clock()
    caplog.set_level(logging.WARNING)
    gateway = Gateway(broker.gateway("gateway", ADDRESSES), ADDRESSES, clock=clock)
    thief = Link(broker.terminal(STATION))
    thief.start()
    gateway.start()
    yield Liar(thief, gateway, clock, lambda: caplog.text.count("did not sign it"))
    gateway.close()
    thief.close()


def test_a_forged_reading_is_not_believed(liar: Liar) -> None:
    liar.say(METER, encoded(LIE))
    liar.say(METER, encoded(Statement(encoded(LIE).decode(), 2**63)))
    liar.state(METER, LIE, THIEF)
    liar.state(LINE, LineReading(event(0), 5_000), THIEF)
    liar.until_heard()
    assert (liar.gateway.reading(STATION), liar.gateway.line(STATION, USER)) == (None, None)
    assert liar.ignored() == 3

    liar.state(METER, NOW, KEYS[STATION])
    liar.state(METER, LIE, THIEF)
    liar.until_heard()
    assert liar.gateway.reading(STATION) == NOW


def test_a_reading_of_another_terminal_or_line_is_not_believed(liar: Liar) -> None:
    """Though its terminal signed it: for the other's topic, or for this one with the other's key."""
    elsewhere = Statement.make(Topics(USER).meter, LIE, int(liar.clock() * 1_000), KEYS[USER])
    other_line = Statement.make(
        Topics(STATION).line("user-2"), LineReading(event(0), 5_000), int(liar.clock() * 1_000), KEYS[STATION]
    )
    liar.say(METER, encoded(elsewhere))
    liar.state(METER, LIE, KEYS[USER])
    liar.say(LINE, encoded(other_line))
    liar.until_heard()

    assert (liar.gateway.reading(STATION), liar.gateway.line(STATION, USER)) == (None, None)
    assert liar.ignored() == 3


def test_an_old_reading_that_comes_again_is_not_believed(liar: Liar) -> None:
    liar.state(METER, OLD, KEYS[STATION], ago_s=20)
    liar.state(LINE, LineReading(event(0), 1_000), KEYS[STATION], ago_s=20)
    liar.state(METER, NOW, KEYS[STATION])
    liar.state(LINE, LineReading(event(1), 500), KEYS[STATION])
    liar.state(METER, OLD, KEYS[STATION], ago_s=20)
    liar.state(LINE, LineReading(event(0), 1_000), KEYS[STATION], ago_s=20)
    liar.until_heard()

    assert liar.gateway.reading(STATION) == NOW
    assert liar.gateway.line(STATION, USER) == LineReading(event(1), 500)
    assert liar.ignored() == 0


@pytest.mark.parametrize("ago_s", [FRESH_SECONDS + 1, -FRESH_SECONDS - 1])
def test_a_reading_of_another_day_is_not_believed_by_a_gateway_that_just_came(liar: Liar, ago_s: float) -> None:
    """It has seen no newer one: what was stored then says nothing about now."""
    liar.state(METER, OLD, KEYS[STATION], ago_s)
    liar.until_heard()

    assert liar.gateway.state(STATION) is State.READY
    assert liar.gateway.reading(STATION) is None


def test_a_reading_that_is_kept_from_a_gateway_grows_old(liar: Liar) -> None:
    liar.state(METER, NOW, KEYS[STATION])
    liar.until_heard()
    liar.clock.now += FRESH_SECONDS - 1
    assert liar.gateway.reading(STATION) == NOW
    liar.clock.now += 2

    assert liar.gateway.reading(STATION) is None


def test_a_meter_that_was_reset_is_believed(liar: Liar) -> None:
    """What comes later is true, though its registers are lower: replays are told by their time."""
    liar.state(METER, LIE, KEYS[STATION], ago_s=1)
    liar.state(METER, MeterReading(0, 0), KEYS[STATION])
    liar.until_heard()

    assert liar.gateway.reading(STATION) == MeterReading(0, 0)


def test_forged_answers_and_results_end_no_command(liar: Liar) -> None:
    now = int(liar.clock())
    command = Command(event(1), STATION, Service.SUPPLY, USER, event(0), UNIT_WH, 5_000, now - 1, now + 60).signed(
        THIEF
    )
    exchange = liar.gateway.send(command)
    topics, meter = Topics(STATION), MeterReading(0, 0)
    result = Result(command.cmd_id, Outcome.COMPLETE, UNIT_WH, meter, MeterReading(UNIT_WH, 0))
    refusal = Acknowledgement(message_hash(encoded(command)), command.cmd_id, Answer.EXPIRED)
    for topic, lie in ((topics.result, result), (topics.acknowledgement, refusal)):
        liar.say(topic, encoded(lie))
        liar.state(topic, lie, THIEF)
    liar.until_heard()
    assert (exchange.result.done(), exchange.answers) == (False, [])
    assert liar.gateway.open_commands(STATION) == [command]

    truth = Result(command.cmd_id, Outcome.FAILED, 0, meter, meter, "empty")
    liar.state(topics.result, truth, KEYS[STATION])
    assert exchange.result.result(TIMEOUT) == truth


def test_a_terminal_tells_again_what_stays_the_same_before_it_is_too_old(grid: Grid) -> None:
    supplied = grid.gateway.send(grid.command()).result.result(TIMEOUT)
    assert grid.gateway.wait_for(lambda: grid.gateway.reading(STATION) == supplied.after, TIMEOUT)
    grid.clock.now += 1_000
    assert grid.gateway.reading(STATION) is None

    assert grid.gateway.wait_for(lambda: grid.gateway.reading(STATION) == supplied.after, TIMEOUT)
    assert 2 * RETELL_SECONDS < FRESH_SECONDS


def test_a_terminal_tells_its_reading_while_energy_moves(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inverter may take minutes for a unit, longer than a reading is believed."""
    whole, half, rest = grid.storage.inject, UNIT_WH // 2, threading.Event()

    def slow(transfer: Transfer) -> None:
        whole(replace(transfer, energy_wh=half))
        assert rest.wait(TIMEOUT)
        whole(replace(transfer, energy_wh=half))

    def shown() -> int:
        reading = grid.gateway.reading(STATION)
        return 0 if reading is None else reading.injected_wh

    monkeypatch.setattr(grid.storage, "inject", slow)
    exchange = grid.gateway.send(grid.command())
    assert grid.gateway.wait_for(lambda: shown() == half, TIMEOUT)
    assert not exchange.result.done()
    rest.set()

    assert exchange.result.result(TIMEOUT).outcome is Outcome.COMPLETE
    assert grid.gateway.wait_for(lambda: shown() == UNIT_WH, TIMEOUT)
