"""Terminals that are killed, and brokers that restart: nothing moves twice, and no result is lost."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from eth_account.signers.local import LocalAccount

from energyshare.dispatch.rules import Service
from energyshare.physical.broker import Broker
from energyshare.physical.device import Transfer
from energyshare.physical.gateway import CommandRefused, Gateway
from energyshare.physical.inverter import SimulatedInverter
from energyshare.physical.journal import Journal, JournalError
from energyshare.physical.messages import Answer, Command, MeterReading, Outcome
from energyshare.physical.storage import Storage
from energyshare.physical.topics import State
from tests.physical.grid import STATION, UNIT_WH, USER, Grid, event

TIMEOUT = 20
ROOT = Path(__file__).parents[2]


@pytest.fixture
def inverter() -> Iterator[SimulatedInverter]:
    """It takes the tenth of a second for what takes an hour in life."""
    with SimulatedInverter(Storage(40_000, 20_000, 10_000), speed=36_000) as inverter:
        yield inverter


@pytest.fixture
def gateway(broker: Broker) -> Iterator[Gateway]:
    gateway = Gateway(broker.gateway("gateway", [STATION]), [STATION], resend_seconds=0.3)
    gateway.start()
    yield gateway
    gateway.close()


@pytest.fixture
def launch(
    broker: Broker, inverter: SimulatedInverter, account: LocalAccount, tmp_path: Path
) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start the station's terminal, or start it again."""
    url = broker.terminal(STATION).url
    started: list[subprocess.Popen[str]] = []

    def launch(stall: str = "") -> subprocess.Popen[str]:
        options = {
            "terminal": STATION,
            "port": inverter.port,
            "url": url,
            "trusted": account.address,
            "journal": str(tmp_path / "journal"),
            "stall": stall,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.physical.terminal_process", json.dumps(options)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def unit(account: LocalAccount, index: int, expires_in: int = 300) -> Command:
    now = int(time.time())
    return Command(
        event(index), STATION, Service.SUPPLY, USER, event(0, 0x22), UNIT_WH, 10_000, now - 1, now + expires_in
    ).signed(account)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL, once it says where it stands."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], TIMEOUT)[0], "it never came to where it is to be killed"
    assert process.stdout.readline() == "stalled\n"
    process.kill()
    process.wait()


def test_a_terminal_killed_before_it_moved_anything_says_so(
    launch: Callable[..., subprocess.Popen[str]], gateway: Gateway, inverter: SimulatedInverter, account: LocalAccount
) -> None:
    dying = launch("before")
    exchange = gateway.send(unit(account, 1))
    assert gateway.wait_for(lambda: exchange.answers[:1] == [Answer.ACCEPTED], TIMEOUT)
    kill(dying)
    assert gateway.wait_for(lambda: gateway.state(STATION) is State.LOST, TIMEOUT)
    assert not exchange.result.done()

    launch()
    result = exchange.result.result(TIMEOUT)
    assert (result.outcome, result.energy_wh, result.detail) == (Outcome.FAILED, 0, "interrupted")
    again = gateway.send(unit(account, 2)).result.result(TIMEOUT)
    assert (again.outcome, again.energy_wh) == (Outcome.COMPLETE, UNIT_WH)
    assert inverter.storage.given_out_wh == UNIT_WH


def test_a_terminal_killed_between_moving_and_reading_finds_the_reading(
    launch: Callable[..., subprocess.Popen[str]], gateway: Gateway, inverter: SimulatedInverter, account: LocalAccount
) -> None:
    dying = launch("after")
    exchange = gateway.send(unit(account, 1))
    kill(dying)
    assert not exchange.result.done()

    launch()
    result = exchange.result.result(TIMEOUT)
    assert (result.outcome, result.energy_wh) == (Outcome.COMPLETE, UNIT_WH)
    assert (result.before.injected_wh, result.after.injected_wh) == (0, UNIT_WH)
    assert inverter.storage.given_out_wh == UNIT_WH


def test_terminals_killed_again_and_again_move_each_unit_once(
    broker: Broker,
    launch: Callable[..., subprocess.Popen[str]],
    gateway: Gateway,
    inverter: SimulatedInverter,
    account: LocalAccount,
) -> None:
    """Twice over, and then the same commands are sent by a gateway that forgot all."""
    commands = [unit(account, index) for index in range(2)]
    for command in commands:
        dying = launch("after")
        gateway.send(command)
        kill(dying)
    launch()
    forgetful = Gateway(broker.gateway("forgetful", [STATION]), [STATION], resend_seconds=0.3)
    forgetful.start()
    try:
        results = [forgetful.send(command).result.result(TIMEOUT) for command in commands]
    finally:
        forgetful.close()

    assert [result.energy_wh for result in results] == [UNIT_WH] * 2
    assert inverter.storage.given_out_wh == 2 * UNIT_WH


def test_a_command_sent_while_the_terminal_is_dead_is_carried_out_or_expires(
    launch: Callable[..., subprocess.Popen[str]], gateway: Gateway, inverter: SimulatedInverter, account: LocalAccount
) -> None:
    dying = launch()
    assert gateway.wait_for(lambda: gateway.state(STATION) is State.READY, TIMEOUT)
    dying.kill()
    assert gateway.wait_for(lambda: gateway.state(STATION) is State.LOST, TIMEOUT)

    in_time, too_late = gateway.send(unit(account, 1)), gateway.send(unit(account, 2, expires_in=0))
    launch()
    assert in_time.result.result(TIMEOUT).outcome is Outcome.COMPLETE
    with pytest.raises(CommandRefused, match="expired"):
        too_late.result.result(TIMEOUT)
    assert inverter.storage.given_out_wh == UNIT_WH


def test_a_broker_restarts_and_nothing_is_lost_or_moves_twice(grid: Grid) -> None:
    before = grid.gateway.send(grid.command())
    assert before.result.result(TIMEOUT).outcome is Outcome.COMPLETE
    port = grid.broker.port
    grid.broker.stop()
    meanwhile = [grid.gateway.send(grid.command()) for _ in range(5)]
    late = grid.gateway.send(grid.command(expires=int(grid.clock()) + 5))
    grid.clock.now += 6
    grid.broker.start()
    assert grid.broker.port == port

    assert [exchange.result.result(TIMEOUT).energy_wh for exchange in meanwhile] == [UNIT_WH] * 5
    with pytest.raises(CommandRefused, match="expired"):
        late.result.result(TIMEOUT)
    assert grid.storage.storage.given_out_wh == 6 * UNIT_WH
    assert grid.balance.difference == 0
    assert grid.gateway.wait_for(lambda: grid.gateway.state(STATION) is State.READY, TIMEOUT)
    newcomer = grid.new_gateway("newcomer")
    assert newcomer.wait_for(
        lambda: (reading := newcomer.reading(STATION)) is not None and reading.injected_wh == 6 * UNIT_WH, TIMEOUT
    )


def test_results_of_what_moved_while_the_broker_was_down_arrive(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, moved = grid.storage.inject, threading.Event()

    def cut_off(transfer: Transfer) -> None:
        grid.broker.stop()
        whole(transfer)
        moved.set()

    monkeypatch.setattr(grid.storage, "inject", cut_off)
    exchange = grid.gateway.send(grid.command())
    assert moved.wait(TIMEOUT)
    grid.broker.start()

    assert exchange.result.result(TIMEOUT).outcome is Outcome.COMPLETE
    assert grid.storage.storage.given_out_wh == UNIT_WH


def test_a_journal_begins_a_command_once_and_outlives_its_process(account: LocalAccount, tmp_path: Path) -> None:
    command = unit(account, 1)
    journal = Journal(tmp_path / "deep" / "journal")
    assert journal.begin(command, MeterReading(5, 0))
    assert not journal.begin(command, MeterReading(9, 0))
    journal.close()

    again = Journal(tmp_path / "deep" / "journal")
    (entry,) = again.unfinished()
    assert (entry.command, entry.before, entry.result) == (command, MeterReading(5, 0), None)
    assert again.find(unit(account, 2).cmd_id) is None
    again.close()


def test_a_journal_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="writable disk"):
        Journal(tmp_path)
