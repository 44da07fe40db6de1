"""Agents at work on a chain that makes blocks by itself: killed, doubled, cut off, reorganised under."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from energyshare.chain.block_maker import BlockMaker
from energyshare.chain.connection import Chain
from energyshare.chain.rpc_server import RpcServer
from energyshare.chain.sending import poll
from energyshare.chain.transport import provider_of, request
from energyshare.dispatch.agents import Act, Agent, Movement, Step, run
from energyshare.dispatch.client import Order, RegisterMeter, SchedulerClient
from energyshare.dispatch.rules import Service
from energyshare.dispatch.schedule import Schedule
from tests.dispatch.client_process import draw_until_killed, station_until_killed
from tests.dispatch.town import KEYS, Feeder, Town, start

SUPPLY, ACQUIRE = Service.SUPPLY, Service.ACQUIRE
BLOCK_TIME_S = 0.1
DEEP = 3
"""Blocks that a reorganisation takes back."""

PATIENCE_BLOCKS = 300
KILLS = 10
LAST_REQUEST = 70


_MINING = threading.Lock()
"""Where a block comes while anvil reorganises, its chain is left with a hole."""


def _reorganise(town: Town, depth: int) -> None:
    with _MINING:
        request(provider_of(town.chain.w3), "anvil_reorg", depth, [])


@pytest.fixture
def lively() -> Iterator[Town]:
    """On anvil, a new town for each test, whose blocks come by themselves."""
    town = start("anvil")
    mine = town.chain.mine

    def alone() -> None:
        with _MINING:
            mine()

    town.chain.mine = alone  # type: ignore[method-assign]
    maker = BlockMaker([town.chain], BLOCK_TIME_S)
    maker.start()
    yield town
    maker.stop()
    town.chain.close()


@contextmanager
def _running(*agents: Agent) -> Iterator[list[tuple[Agent, Step]]]:
    """The agents at work in a thread, until they have ended or the test has."""
    stop, steps = threading.Event(), list[tuple[Agent, Step]]()
    failures: list[Exception] = []

    def work() -> None:
        try:
            run(agents, stop, 0.01, 0.5, lambda agent, step: steps.append((agent, step)))
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield steps
    finally:
        stop.set()
        thread.join()
    assert not failures, failures


def _wait(reached: Callable[[], bool], timeout_s: float = 60) -> None:
    for _ in poll(timeout_s):
        if reached():
            return
    raise AssertionError(f"not reached in {timeout_s} s")


def _client(town: Town, user: str, order: Order, **options: Any) -> SchedulerClient:
    """One that bears with a machine that is slow: blocks come fast here."""
    return town.client(user, order, patience_blocks=PATIENCE_BLOCKS, **options)


def _ended(steps: list[tuple[Agent, Step]]) -> bool:
    return any(step.act.ends for _, step in steps)


def test_a_unit_takes_its_block_and_the_one_that_confirms_it(lively: Town) -> None:
    client = _client(lively, "ann", lively.order(SUPPLY, 6), confirmations=1)
    with _running(client, lively.station("near", confirmations=1)) as steps:
        _wait(lambda: _ended(steps))

    records = lively.schedule.unit_records(user=KEYS["ann"].address)
    assert len(records) == 6
    assert records[-1].block - records[0].block <= 3 * 5 + 3  # a block to spare for each, and k once
    assert lively.suspended("ann") == []


def test_users_of_both_sides_are_served_at_once(lively: Town) -> None:
    clients = [
        _client(lively, "ann", lively.order(SUPPLY, 7), confirmations=1),
        _client(lively, "bob", lively.order(ACQUIRE, 7), confirmations=1),
        _client(lively, "eve", lively.order(SUPPLY, 7), confirmations=1, units_at_once=3),
    ]
    stations = [lively.station(name, confirmations=1) for name in ("near", "far")]
    with _running(*clients, *stations) as steps:
        _wait(lambda: sum(step.act is Act.DONE for _, step in steps) == 3)

    assert [len(lively.records(user)) for user in ("ann", "bob", "eve")] == [7, 7, 7]
    assert lively.state("near").stored == 20_000
    assert lively.state("far").stored == 13_000
    assert lively.feeder.stored_wh == {1: pytest.approx(20_000, abs=7), 2: 13_000}


def test_two_clients_for_one_order_draw_it_once(lively: Town) -> None:
    order = lively.order(SUPPLY, 9)
    twins = [_client(lively, "ann", order, confirmations=1) for _ in range(2)]
    station = lively.station("near", confirmations=1)
    with _running(station), _running(twins[0]) as first, _running(twins[1]) as second:
        _wait(lambda: _ended(first) and _ended(second))

    assert len(lively.records("ann")) == 9
    assert lively.feeder.units(KEYS["ann"]) == 9
    assert lively.suspended("ann") == []


# Reorganised


@pytest.mark.parametrize("service", [SUPPLY, ACQUIRE])
def test_a_reorganisation_under_the_client_costs_blocks_and_no_unit(lively: Town, service: Service) -> None:
    """As deep as the agents wait: what it takes back was never sent, and is drawn again."""
    client = _client(lively, "ann", lively.order(service, 6), confirmations=DEEP)
    with _running(client, lively.station("near", confirmations=DEEP)) as steps:
        for units in (1, 2, 4):
            _wait(lambda: len(lively.records("ann")) >= units)  # noqa: B023 - waited for at once
            _reorganise(lively, DEEP)
        _wait(lambda: _ended(steps))

    assert len(lively.records("ann")) == 6
    assert lively.feeder.units(KEYS["ann"]) == 6
    assert lively.suspended("ann") == []
    assert lively.rights("ann") == 50_000 + (6_000 if service is ACQUIRE else -6_000)


def test_a_reorganisation_deeper_than_waited_for_costs_the_station_one_unit_and_the_record_nothing(
    lively: Town,
) -> None:
    client = _client(lively, "ann", lively.order(SUPPLY, 6), confirmations=DEEP)
    with _running(client, lively.station("near"), lively.station("far")) as steps:
        _wait(lambda: len(lively.records("ann")) >= 3)
        snapshot = lively.feeder.units(KEYS["ann"])
        _reorganise(lively, 1)
        _wait(lambda: _ended(steps))

    assert snapshot >= 2
    assert len(lively.records("ann")) == 6
    assert lively.feeder.units(KEYS["ann"]) in (6, 7)


# Cut off


def test_a_node_that_goes_and_comes_back_ends_nothing() -> None:
    town = start("py-evm")
    provider = provider_of(town.chain.w3)
    server = RpcServer(provider)
    remote = Chain.connect(server.url, "restarting")
    remote._provider._retries = 0  # type: ignore[attr-defined]
    schedule = Schedule(remote, town.schedule.dispatch.address, town.schedule.deployed_at)
    account = KEYS["ann"]
    order = town.order(SUPPLY, 6)
    meter = RegisterMeter(schedule, account.address, town.feeder.register(account.address))
    maker = BlockMaker([town.chain], BLOCK_TIME_S)
    maker.start()
    with (
        _running(SchedulerClient(schedule, account, order, meter, patience_blocks=PATIENCE_BLOCKS)) as steps,
        _running(town.station("near")),
    ):
        _wait(lambda: len(town.records("ann")) >= 2)
        server.close()
        remote.close()
        height = town.chain.height()
        _wait(lambda: town.chain.height() > height + 3)
        assert not _ended(steps)
        with RpcServer(provider, server.port):
            _wait(lambda: _ended(steps))
    remote.close()
    maker.stop()

    assert len(town.records("ann")) == 6
    town.chain.close()


# Killed


class _Posted(Feeder):
    """Wires whose meters other processes read, in a file."""

    path: Path

    def send(self, movement: Movement) -> None:
        super().send(movement)
        totals = {service.value: wh for (_, service), wh in self.totals_wh.items()}
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(totals))
        fresh.replace(self.path)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_client_killed_at_any_point_draws_exactly_what_was_ordered(seed: int, lively: Town, tmp_path: Path) -> None:
    feeder = _Posted(lively.feeder.numbers, lively.feeder.losses, lively.feeder.stored_wh)
    feeder.path = tmp_path / "register.json"
    town = Town(lively.schedule, feeder)
    order = town.order(SUPPLY, 12)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["energyshare.network"])
    facts = (town.chain.url, town.schedule.dispatch.address, town.schedule.deployed_at, bytes(KEYS["ann"].key))
    rng = random.Random(seed)
    print(f"seed {seed}")

    killed = 0
    feeder.path.write_text("{}")
    with _running(town.station("near", confirmations=1)):
        for kill in range(KILLS):
            moment = (rng.randint(8, LAST_REQUEST), kill % 2 == 1)
            process = context.Process(target=draw_until_killed, args=(*facts, order, feeder.path, *moment), daemon=True)
            process.start()
            process.join(60)
            assert process.exitcode in (0, -signal.SIGKILL), moment
            killed += process.exitcode != 0
        process = context.Process(target=draw_until_killed, args=(*facts, order, feeder.path, 10**9, False))
        process.start()
        process.join(60)
        assert process.exitcode == 0

    assert killed >= KILLS // 2
    assert len(town.records("ann")) == 12
    assert feeder.units(KEYS["ann"]) == 12
    assert town.suspended("ann") == []
    assert town.rights("ann") == 38_000


def test_a_station_killed_at_any_point_supplies_each_unit_once_and_pays_what_came(lively: Town, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["energyshare.network"])
    facts = (lively.chain.url, lively.schedule.dispatch.address, lively.schedule.deployed_at, bytes(KEYS["near"].key))
    rng, stop = random.Random(3), threading.Event()
    feeder, meter = lively.feeder, lively.feeder.station(1)
    (tmp_path / "received").write_bytes(pickle.dumps({}))

    def terminal() -> None:
        """Carry out what is spooled, and say what came."""
        while not stop.wait(0.01):
            for path in tmp_path.glob("*.movement"):
                feeder.send(pickle.loads(path.read_bytes()))
            received = {
                (movement.user, movement.connection): meter.received_wh(movement.user, movement.connection)
                for movement in list(feeder.moved.values())
                if movement.service is ACQUIRE
            }
            fresh = tmp_path / "received.new"
            fresh.write_bytes(pickle.dumps(received))
            fresh.replace(tmp_path / "received")

    thread = threading.Thread(target=terminal)
    thread.start()
    clients = [
        _client(lively, "ann", lively.order(SUPPLY, 12), confirmations=1),
        _client(lively, "bob", lively.order(ACQUIRE, 12), confirmations=1),
    ]
    killed = 0
    try:
        with _running(*clients) as steps:
            while sum(step.act is Act.DONE for _, step in steps) < 2:
                moment = (rng.randint(8, 120), killed % 2 == 1)
                process = context.Process(target=station_until_killed, args=(*facts, 1, tmp_path, *moment), daemon=True)
                process.start()
                process.join(60)
                assert process.exitcode == -signal.SIGKILL, moment
                killed += 1
    finally:
        stop.set()
        thread.join()

    assert killed > 2
    assert [len(lively.records(user)) for user in ("ann", "bob")] == [12, 12]
    assert [feeder.units(KEYS[user]) for user in ("ann", "bob")] == [12, 12]
    assert lively.state("near").stored == 20_000
    assert (lively.rights("ann"), lively.rights("bob")) == (38_000, 62_000)
    assert lively.suspended("ann") == lively.suspended("bob") == []
