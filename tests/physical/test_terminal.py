"""Terminals obey signed commands once each, in their time, and say why where they do not."""

from __future__ import annotations

import queue
from dataclasses import replace

import pytest
from eth_account import Account

from energyshare.dispatch.rules import Service, user_reading
from energyshare.physical.device import DeviceError, Transfer
from energyshare.physical.gateway import CommandRefused
from energyshare.physical.link import Link
from energyshare.physical.messages import (
    Acknowledgement,
    Answer,
    LineReading,
    Outcome,
    Statement,
    decode,
    encoded,
    message_hash,
)
from energyshare.physical.topics import State, Topics
from tests.physical.grid import LOSS_BP, STATION, UNIT_WH, USER, Grid, event

TIMEOUT = 10


def refusal(grid: Grid, **changes: object) -> Answer:
    with pytest.raises(CommandRefused) as caught:
        grid.gateway.send(grid.command(**changes)).result.result(TIMEOUT)  # type: ignore[arg-type]
    return caught.value.answer


def moved_wh(grid: Grid) -> int:
    return grid.storage.storage.given_out_wh


def test_a_unit_is_supplied_and_both_meters_agree(grid: Grid) -> None:
    exchanges = [grid.gateway.send(grid.command()) for _ in range(7)]
    results = [exchange.result.result(TIMEOUT) for exchange in exchanges]

    assert [(result.outcome, result.energy_wh) for result in results] == [(Outcome.COMPLETE, UNIT_WH)] * 7
    assert all(exchange.answers[0] is Answer.ACCEPTED for exchange in exchanges)
    expected = user_reading(Service.SUPPLY, 7 * UNIT_WH, LOSS_BP)
    assert grid.gateway.wait_for(
        lambda: (reading := grid.gateway.reading(USER)) is not None and reading.absorbed_wh == expected, TIMEOUT
    )
    reading = grid.gateway.reading(STATION)
    assert reading is not None
    assert reading.injected_wh == 7 * UNIT_WH, "a reading comes before the result that it belongs to"
    assert (reading.rated_wh, reading.available_wh) == (40_000, grid.storage.storage.stored_wh)
    assert grid.balance.difference == 0


def test_a_user_sends_what_brings_the_station_a_unit(grid: Grid) -> None:
    for units in range(1, 8):
        sent = user_reading(Service.ACQUIRE, (units - 1) * UNIT_WH, LOSS_BP)
        energy = user_reading(Service.ACQUIRE, units * UNIT_WH, LOSS_BP) - sent
        result = grid.gateway.send(grid.command(Service.ACQUIRE, energy)).result.result(TIMEOUT)

        assert (result.outcome, result.after.injected_wh) == (Outcome.COMPLETE, sent + energy)
        assert grid.storage.storage.taken_in_wh == units * UNIT_WH
        expected = LineReading(event(0, 0x33), units * UNIT_WH)
        assert grid.gateway.wait_for(lambda expected=expected: grid.gateway.line(STATION, USER) == expected, TIMEOUT)
    assert grid.gateway.open_commands(USER) == []
    assert grid.balance.difference == 0


def test_a_duplicate_moves_nothing_and_gets_the_result_again(grid: Grid) -> None:
    command = grid.command()
    first = grid.gateway.send(command).result.result(TIMEOUT)
    restarted = grid.new_gateway("restarted")

    again = restarted.send(command)
    assert again.result.result(TIMEOUT) == first
    assert restarted.wait_for(lambda: again.answers == [Answer.DUPLICATE], TIMEOUT)
    assert grid.gateway.send(command).result.result(TIMEOUT) == first
    assert moved_wh(grid) == UNIT_WH


def test_reordered_commands_are_each_carried_out_once(grid: Grid) -> None:
    commands = [grid.command(energy_wh=energy) for energy in (100, 200, 300, 400)]
    late = grid.new_gateway("late")
    exchanges = [grid.gateway.send(command) for command in reversed(commands)]
    exchanges += [late.send(command) for command in commands]

    assert sum(exchange.result.result(TIMEOUT).energy_wh for exchange in exchanges) == 2_000
    assert moved_wh(grid) == 1_000


def test_a_command_ahead_of_its_time_waits_for_it(grid: Grid) -> None:
    now = int(grid.clock())
    exchange = grid.gateway.send(grid.command(not_before=now + 30, expires=now + 60))
    assert grid.gateway.wait_for(lambda: Answer.EARLY in exchange.answers, TIMEOUT)
    assert moved_wh(grid) == 0

    grid.clock.now += 31
    assert exchange.result.result(TIMEOUT).outcome is Outcome.COMPLETE
    assert moved_wh(grid) == UNIT_WH


@pytest.mark.parametrize("late", [0, 1, 10**6])
def test_an_expired_command_moves_nothing(grid: Grid, late: int) -> None:
    grid.clock.now = int(grid.clock())

    assert refusal(grid, not_before=0, expires=int(grid.clock()) - late) is Answer.EXPIRED
    assert moved_wh(grid) == 0


def test_a_forged_command_moves_nothing_and_does_not_block_the_true_one(grid: Grid) -> None:
    command = grid.command()
    thief = Account.from_key(b"\x02" * 32)
    forgeries = [command.signed(thief), replace(command, energy_wh=9_000), replace(command, signature="0x")]
    for n, forgery in enumerate(forgeries):
        with pytest.raises(CommandRefused, match="forged"):
            grid.new_gateway(f"thief-{n}").send(forgery).result.result(TIMEOUT)
    assert moved_wh(grid) == 0

    assert grid.gateway.send(command).result.result(TIMEOUT).energy_wh == UNIT_WH


def test_a_gateway_takes_no_answer_to_a_forgery_for_its_own(grid: Grid) -> None:
    """The forgery has the id of a command that is open."""
    now = int(grid.clock())
    command = grid.command(not_before=now + 30, expires=now + 60)
    exchange = grid.gateway.send(command)
    assert grid.gateway.open_commands(STATION) == [command]
    with pytest.raises(CommandRefused, match="forged"):
        grid.new_gateway("thief").send(replace(command, expires=now + 61)).result.result(TIMEOUT)
    grid.clock.now += 31

    assert exchange.result.result(TIMEOUT).outcome is Outcome.COMPLETE
    assert Answer.FORGED not in exchange.answers


def test_a_terminal_does_not_do_the_others_work(grid: Grid) -> None:
    assert refusal(grid, terminal=STATION, service=Service.ACQUIRE, cmd_id="") is Answer.UNSUPPORTED
    assert refusal(grid, terminal=USER, peer=STATION) is Answer.UNSUPPORTED
    assert moved_wh(grid) == 0


def test_a_command_for_one_terminal_is_no_use_at_another(grid: Grid) -> None:
    command = grid.command(Service.ACQUIRE)
    with Probe(grid) as probe:
        probe.publish(STATION, encoded(command))

        assert probe.heard.get(timeout=TIMEOUT) == Acknowledgement(
            message_hash(encoded(command)), command.cmd_id, Answer.UNSUPPORTED
        )
    assert moved_wh(grid) == 0


@pytest.mark.parametrize("payload", [b"discharge!", b"{}", b"\xff", b"[" * 10_000])
def test_a_malformed_command_is_named_and_the_terminal_lives_on(grid: Grid, payload: bytes) -> None:
    with Probe(grid) as probe:
        probe.publish(STATION, payload)

        acknowledgement = probe.heard.get(timeout=TIMEOUT)
    assert (acknowledgement.cmd_id, acknowledgement.answer) == (None, Answer.MALFORMED)
    assert acknowledgement.detail
    assert grid.gateway.send(grid.command()).result.result(TIMEOUT).outcome is Outcome.COMPLETE


def test_what_the_device_cannot_do_fails_with_its_reason(grid: Grid) -> None:
    too_much = grid.gateway.send(grid.command(energy_wh=30_000)).result.result(TIMEOUT)
    too_fast = grid.gateway.send(grid.command(power_w=20_000)).result.result(TIMEOUT)

    assert (too_much.outcome, too_much.energy_wh) == (Outcome.FAILED, 0)
    assert "30000 Wh asked of a storage that can give" in too_much.detail
    assert (too_fast.outcome, too_fast.energy_wh) == (Outcome.FAILED, 0)
    assert "less power" in too_fast.detail
    assert moved_wh(grid) == 0


def test_energy_moved_before_a_device_breaks_off_is_counted(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = grid.storage.inject

    def broken(transfer: Transfer) -> None:
        whole(replace(transfer, energy_wh=transfer.energy_wh // 2))
        raise DeviceError("a fuse blew")

    monkeypatch.setattr(grid.storage, "inject", broken)
    result = grid.gateway.send(grid.command()).result.result(TIMEOUT)

    assert (result.outcome, result.energy_wh, result.detail) == (Outcome.PARTIAL, UNIT_WH // 2, "a fuse blew")
    assert grid.balance.difference == 0


def test_a_terminal_whose_device_is_gone_sleeps_and_wakes(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    assert grid.gateway.wait_for(lambda: grid.gateway.state(STATION) is State.READY, TIMEOUT)
    with monkeypatch.context() as gone:

        def silent() -> None:
            raise DeviceError("no answer")

        gone.setattr(grid.storage, "read", silent)
        exchange = grid.gateway.send(grid.command())
        assert grid.gateway.wait_for(lambda: grid.gateway.state(STATION) is State.SLEEPING, TIMEOUT)
        assert grid.gateway.wait_for(lambda: Answer.BUSY in exchange.answers, TIMEOUT)

    assert exchange.result.result(TIMEOUT).outcome is Outcome.COMPLETE
    assert grid.gateway.wait_for(lambda: grid.gateway.state(STATION) is State.READY, TIMEOUT)
    assert moved_wh(grid) == UNIT_WH


def test_a_terminal_says_when_it_comes_and_goes(grid: Grid) -> None:
    assert grid.gateway.wait_for(lambda: grid.gateway.state(USER) is State.READY, TIMEOUT)
    grid.user.close()

    assert grid.gateway.wait_for(lambda: grid.gateway.state(USER) is State.DISCONNECTED, TIMEOUT)
    late = grid.new_gateway("late")
    assert late.wait_for(lambda: late.state(USER) is State.DISCONNECTED, TIMEOUT)


class Probe:
    """Sends what no gateway would, and hears what a terminal answers."""

    def __init__(self, grid: Grid) -> None:
        self.heard: queue.Queue[Acknowledgement] = queue.Queue()
        self._link = Link(grid.broker.gateway("probe", [STATION, USER]))
        self._link.subscribe(
            Topics(STATION).acknowledgement,
            lambda _, payload: self.heard.put(
                decode(Acknowledgement, decode(Statement, payload).contents.encode()),
            ),
        )

    def publish(self, terminal: str, payload: bytes) -> None:
        self._link.publish(Topics(terminal).command, payload).result(TIMEOUT)

    def __enter__(self) -> Probe:
        self._link.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()
