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

from energyshare.chain.sending import poll
from energyshare.dispatch.rules import Service
from energyshare.physical.broker import Broker
from energyshare.physical.device import Transfer
from energyshare.physical.gateway import CommandRefused, Gateway
from energyshare.physical.inverter import SimulatedInverter
from energyshare.physical.journal import Journal, JournalError
from energyshare.physical.messages import Answer, Command, MeterReading, Outcome, Result, encoded
from energyshare.physical.storage import Storage
from energyshare.physical.terminal import MAX_WAITING, REMEMBERED_SECONDS
from energyshare.physical.topics import State
from tests.physical.grid import ADDRESSES, STATION, UNIT_WH, USER, Grid, event

TIMEOUT = 20
ROOT = Path(__file__).parents[2]


@pytest.fixture
def inverter() -> Iterator[SimulatedInverter]:
    """It takes the tenth of a second for what takes an hour in life."""
    with SimulatedInverter(Storage(40_000, 20_000, 10_000), speed=36_000) as inverter:
        yield inverter


@pytest.fixture
def gateway(broker: Broker) -> Iterator[Gateway]:
    gateway = Gateway(broker.gateway("gateway", [STATION]), {STATION: ADDRESSES[STATION]}, resend_seconds=0.3)
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


def _wait(reached: Callable[[], bool]) -> None:
    for _ in poll(TIMEOUT):
        if reached():
            return
    raise AssertionError(f"not reached in {TIMEOUT} s")


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
    forgetful = Gateway(broker.gateway("forgetful", [STATION]), {STATION: ADDRESSES[STATION]}, resend_seconds=0.3)
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


def test_a_journal_forgets_what_is_done_and_expired_and_nothing_else(account: LocalAccount, tmp_path: Path) -> None:
    now = int(time.time())
    old, lasting, unfinished = (unit(account, index, expires_in) for index, expires_in in enumerate((0, 300, 0)))
    journal = Journal(tmp_path / "journal")
    for command in (old, lasting, unfinished):
        journal.begin(command, MeterReading(0, 0))
    for command in (old, lasting):
        journal.finish(Result(command.cmd_id, Outcome.COMPLETE, UNIT_WH, MeterReading(0, 0), MeterReading(UNIT_WH, 0)))

    journal.forget(now + 100)
    journal.forget(now)
    journal.close()

    again = Journal(tmp_path / "journal")
    assert [again.find(command.cmd_id) is not None for command in (old, lasting, unfinished)] == [False, True, True]
    assert [entry.command for entry in again.unfinished()] == [unfinished]
    assert again.forgotten == now + 100
    again.close()


def test_a_clock_set_back_makes_no_forgotten_command_good_again(grid: Grid) -> None:
    command = grid.command()
    assert grid.gateway.send(command).result.result(TIMEOUT).outcome is Outcome.COMPLETE
    grid.clock.now += 2 * REMEMBERED_SECONDS
    assert grid.gateway.send(grid.command()).result.result(TIMEOUT).outcome is Outcome.COMPLETE  # and forgets
    _wait(lambda: grid.station._journal.find(command.cmd_id) is None)

    grid.clock.now -= 2 * REMEMBERED_SECONDS
    with pytest.raises(CommandRefused, match="expired"):
        grid.new_gateway("forgetful").send(command).result.result(TIMEOUT)
    assert grid.storage.storage.given_out_wh == 2 * UNIT_WH


def test_commands_sent_again_and_again_leave_room_for_others(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the device is at something that takes long."""
    whole, at_it, finish = grid.storage.inject, threading.Event(), threading.Event()

    def slow(transfer: Transfer) -> None:
        at_it.set()
        assert finish.wait(TIMEOUT)
        whole(transfer)

    monkeypatch.setattr(grid.storage, "inject", slow)
    first = grid.gateway.send(grid.command())
    assert at_it.wait(TIMEOUT)
    waiting = grid.command()
    for _ in range(2 * MAX_WAITING):
        grid.station._received("", encoded(waiting))
    exchange = grid.gateway.send(waiting)
    other = grid.gateway.send(grid.command())
    _wait(lambda: len(grid.station._waiting) == 2)
    finish.set()

    for one in (first, exchange, other):
        assert one.result.result(TIMEOUT).outcome is Outcome.COMPLETE
    assert Answer.BUSY not in other.answers
    assert grid.storage.storage.given_out_wh == 3 * UNIT_WH


def test_nothing_piles_up_in_a_terminal_while_the_broker_is_away(grid: Grid) -> None:
    port = grid.broker.port
    grid.broker.stop()
    _wait(lambda: not grid.station._link.ready)
    for _ in range(50):
        grid.storage.absorb(10)
    assert len(grid.station._link._client._out_messages) <= 1
    grid.broker.start()
    assert grid.broker.port == port

    assert grid.gateway.wait_for(
        lambda: (reading := grid.gateway.reading(STATION)) is not None and reading.absorbed_wh == 500, TIMEOUT
    )
    assert grid.gateway.wait_for(lambda: grid.gateway.state(STATION) is State.READY, TIMEOUT)


def test_a_gateway_sends_nothing_again_to_a_terminal_that_is_away(grid: Grid) -> None:
    grid.station.close()
    assert grid.gateway.wait_for(lambda: grid.gateway.state(STATION) is State.DISCONNECTED, TIMEOUT)
    grid.gateway.send(grid.command())

    assert grid.gateway._due() == []
    assert len(grid.gateway._due(STATION)) == 1


def test_a_terminal_that_can_go_on_no_more_is_lost_and_says_why(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    grid.station.check()

    def broken() -> MeterReading:
        raise RuntimeError("a bug")

    monkeypatch.setattr(grid.station._device, "read", broken)

    assert grid.gateway.wait_for(lambda: grid.gateway.state(STATION) is State.LOST, TIMEOUT)
    with pytest.raises(RuntimeError, match="a bug"):
        grid.station.check()


def test_a_journal_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="writable disk"):
        Journal(tmp_path)
