"""Relayers killed, doubled, reorganised under and left without sealers: nothing lost, nothing twice."""

from __future__ import annotations

import multiprocessing
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account.signers.local import LocalAccount
from web3.contract.contract import ContractFunction

from energyshare.bridge.lock_end import LockEnd
from energyshare.bridge.packet import OutboxBroken, Packet
from energyshare.bridge.relayer import Delivery, Relayer, run_relayers
from energyshare.bridge.seal import QuorumMissing
from energyshare.bridge.sealer import Journal, Seal, Sealer, SealerSource
from energyshare.bridge.sealer_service import RemoteSealer, SealerService
from energyshare.chain.block_maker import BlockMaker
from energyshare.chain.connection import Chain
from energyshare.chain.rpc_server import RpcServer
from energyshare.chain.sending import poll
from energyshare.chain.transport import HttpProvider, provider_of, request
from energyshare.errors import ChainError, EnergyShareError, TransactionReverted
from energyshare.side import Side
from tests.bridge.relay_process import relay_until_killed
from tests.bridge.world import S, T, World

BLOCK_TIME_S = 0.2
KILLS = 8
"""How often the relayer is killed, at a random request to the nodes: half of them answered, half never sent."""

LAST_REQUEST = 60
"""Well behind the first delivery."""


@pytest.fixture(scope="module")
def lively_deployed() -> Iterator[World]:
    world = World.make("anvil")
    yield world
    world.close()


@contextmanager
def _paced(world: World, block_time_s: float) -> Iterator[World]:
    maker = BlockMaker([world.chain(side) for side in Side], block_time_s)
    maker.start()
    try:
        yield world.fresh()
    finally:
        maker.stop()


@pytest.fixture
def lively(lively_deployed: World) -> Iterator[World]:
    """A network on anvil whose chains make blocks by themselves, both at once; not rolled back."""
    with _paced(lively_deployed, BLOCK_TIME_S) as world:
        yield world


@contextmanager
def _running(*relayers: Relayer) -> Iterator[list[Delivery]]:
    """The relayers at work in threads."""
    stop, delivered = threading.Event(), list[Delivery]()
    thread = threading.Thread(
        target=run_relayers,
        args=(relayers, stop),
        kwargs={"poll_s": 0.02, "on_delivery": lambda _, delivery: delivered.append(delivery)},
    )
    thread.start()
    try:
        yield delivered
    finally:
        stop.set()
        thread.join()


def _wait(reached: Callable[[], bool], timeout_s: float = 60) -> None:
    for _ in poll(timeout_s):
        if reached():
            return
    raise AssertionError(f"not reached in {timeout_s} s")


def _drained(world: World) -> bool:
    states = {side: world.state(side) for side in Side}
    return all(states[side].outbox == states[side.other].inbox for side in Side)


def _assert_each_once(world: World) -> None:
    """Every transfer of either outbox had one outcome, in order, and value is where it should be."""
    for side in Side:
        state = world.state(side)
        credits = world.fresh().end(side).credits(world.route(side))
        assert [credit.position for credit in credits] == list(range(1, state.inbox_position + 1))
        assert world.boxed(side) == state.pool
    assert world.state(T).pool == world.terms.rights_supply - world.state(S).pool


# Killed


@pytest.mark.parametrize("seed", [1, 2])
def test_relayers_killed_at_any_point_lose_and_double_nothing(seed: int, lively: World, tmp_path: Path) -> None:
    record = tmp_path / "network.json"
    replace(
        lively.network.record,
        chains={
            side: replace(chain, url=lively.chain(side).url) for side, chain in lively.network.record.chains.items()
        },
    ).write(record)
    before = {(side, name): lively.balance(side, name) for side in Side for name in ("EC", "Client1")}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["energyshare.network"])

    rng = random.Random(seed)
    for kill in range(KILLS):
        lively.lock(T, "Client1", 100)
        lively.lock(S, "EC", 10)
        moment = (rng.randint(1, LAST_REQUEST), kill % 2 == 1)
        process = context.Process(target=relay_until_killed, args=(record, tmp_path / "journal", *moment), daemon=True)
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, moment
    with _running(*(lively.relayer(side, Journal(tmp_path / "journal")) for side in Side)):
        _wait(lambda: _drained(lively))

    assert lively.balance(S, "Client1") == before[S, "Client1"] + 100 * KILLS
    assert lively.balance(T, "Client1") == before[T, "Client1"] - 100 * KILLS
    assert lively.balance(T, "EC") == before[T, "EC"] + 10 * KILLS
    assert lively.balance(S, "EC") == before[S, "EC"] - 10 * KILLS
    _assert_each_once(lively)


@pytest.mark.parametrize("keys", ["one key", "two keys"])
def test_two_relayers_at_once_double_nothing(lively: World, keys: str) -> None:
    before = lively.balance(S, "Client1")
    journal = Journal(None)
    first, second = (lively.fresh().relayer(T, journal) for _ in range(2))
    if keys == "two keys":
        second.account = lively.actors.operator(S)

    with _running(first, second) as delivered:
        for _ in range(12):
            lively.lock(T, "Client1", 100)
        _wait(lambda: _drained(lively))

    assert lively.balance(S, "Client1") == before + 1_200
    assert sum(delivery.processed for delivery in delivered) == 12
    _assert_each_once(lively)


def test_a_transfer_is_credited_within_eight_blocks_of_its_lock(lively_deployed: World) -> None:
    """At one block a second on both chains: six confirmations, the packet's block, and one to spare."""
    with _paced(lively_deployed, 1) as world, _running(world.relayer(T)):
        world.lock(T, "Client1", 100)
        behind = world.chain(S).height()
        _wait(lambda: _drained(world))

    credit = world.end(S).credits(world.route(S))[-1]
    assert credit.position == world.state(T).outbox_position
    assert credit.block_number - behind <= 8


# Reorganised


def test_a_reorganisation_under_the_relayer_takes_back_what_was_not_confirmed(lively: World) -> None:
    held, before = lively.balance(T, "Client1"), lively.balance(S, "Client1")
    journal = Journal(None)
    with _running(lively.fresh().relayer(T, journal)):
        lively.lock(T, "Client1", 100)
        confirmed = lively.state(T).outbox_position
        _wait(lambda: lively.state(S).inbox_position == confirmed)
        lively.lock(T, "Client1", 7)
        lost = lively.state(T)
        request(provider_of(lively.chain(T).w3), "anvil_reorg", 3, [])
        assert lively.state(T).outbox_position == confirmed
        lively.chain(T)._sender.forget()
        lively.lock(T, "Client1", 30)  # in the place of the lost one
        assert lively.state(T).outbox_position == lost.outbox_position
        assert lively.state(T).outbox != lost.outbox
        _wait(lambda: _drained(lively))

    assert lively.balance(S, "Client1") == before + 130
    assert lively.balance(T, "Client1") == held - 130
    _assert_each_once(lively)


def test_events_of_a_lost_branch_are_read_again(world: World) -> None:
    end: LockEnd = world.end(T)
    snapshot = world.chain(T).snapshot()
    world.lock(T, "Client1", 100)
    end.transfers(world.route(T), 1, 1, world.chain(T).height())
    world.chain(T).revert(snapshot)
    world.lock(T, "Client1", 200)
    world.confirm(T)
    relayer = Relayer(end, world.end(S), world.relayer(T).sealers, world.actors.relayer(S))

    with pytest.raises(OutboxBroken, match="wait for it to settle"):
        relayer.step()
    delivery = relayer.step()

    assert delivery is not None
    assert world.balance(S, "Client1") == 200


# Sealers and nodes that fail


class _Liar:
    """A sealer that signs another hash than the block's."""

    def __init__(self, honest: Sealer) -> None:
        self._honest = honest

    def seal(self, number: int) -> Seal:
        return replace(self._honest.seal(number - 1), number=number)


class _Babbler:
    """A sealer whose signature is none."""

    def seal(self, number: int) -> Seal:
        return Seal("0x" + "00" * 20, number, bytes(32), b"\xff" * 65)


@pytest.fixture
def sealers(world: World) -> list[Sealer]:
    journal = Journal(None)
    return [Sealer(world.chain(T), account, journal) for account in world.sealers(T)]


def test_one_sealer_that_is_down_does_not_matter(world: World, sealers: list[Sealer]) -> None:
    service = SealerService(sealers[0])
    service.start()
    service.stop()
    world.lock(T, "Client1", 100)
    world.confirm(T)

    sources: list[SealerSource] = [RemoteSealer(service.url), *sealers[1:]]
    assert Relayer(world.end(T), world.end(S), sources, world.actors.relayer(S)).step() is not None

    assert world.balance(S, "Client1") == 100


@pytest.mark.parametrize("fault", [_Liar, lambda _: _Babbler()], ids=["liar", "babbler"])
def test_one_sealer_that_lies_does_not_matter_and_two_are_named(
    world: World, sealers: list[Sealer], fault: Callable[[Sealer], Sealer]
) -> None:
    world.lock(T, "Client1", 100)
    world.confirm(T)
    faulty = [fault(sealers[0]), fault(sealers[1]), *sealers[2:]]
    before = world.fingerprint()

    with pytest.raises(QuorumMissing, match="2 of 4 sealers signed and 3 must"):
        Relayer(world.end(T), world.end(S), faulty, world.actors.relayer(S)).step()
    assert world.fingerprint() == before
    Relayer(world.end(T), world.end(S), [faulty[0], *sealers[1:]], world.actors.relayer(S)).step()

    assert world.balance(S, "Client1") == 100


def test_a_sealer_that_failed_is_asked_last_the_next_time(world: World, sealers: list[Sealer]) -> None:
    asked: list[int] = []

    class Noted:
        def __init__(self, place: int) -> None:
            self.place = place

        def seal(self, number: int) -> Seal:
            asked.append(self.place)
            if self.place == 0:
                raise EnergyShareError("down")
            return sealers[self.place].seal(number)

    relayer = Relayer(world.end(T), world.end(S), [Noted(place) for place in range(4)], world.actors.relayer(S))
    for _ in range(2):
        world.lock(T, "Client1", 100)
        world.confirm(T)
        assert relayer.step() is not None

    assert asked == [0, 1, 2, 3, 1, 2, 3]


def test_one_sealer_four_times_is_one_sealer(world: World, sealers: list[Sealer]) -> None:
    world.lock(T, "Client1", 100)
    world.confirm(T)

    with pytest.raises(QuorumMissing, match="1 of 4"):
        Relayer(world.end(T), world.end(S), [sealers[0]] * 4, world.actors.relayer(S)).step()


def test_the_relayer_goes_on_when_a_node_comes_back(world: World) -> None:
    provider = provider_of(world.chain(T).w3)
    server = RpcServer(provider)
    remote = Chain.connect(server.url, "restarting")
    remote._provider._retries = 0  # type: ignore[attr-defined]
    record = world.network.record.chains[T]
    end = LockEnd(remote, record.lock, record.deployed_at)
    relayer = Relayer(end, world.end(S), world.relayer(T).sealers, world.actors.relayer(S))
    world.lock(T, "Client1", 100)
    world.confirm(T)
    server.close()
    remote.close()  # its connections; the next request dials again

    with pytest.raises(ChainError, match="no node answers"):
        relayer.step()
    with RpcServer(provider, server.port):
        assert relayer.step() is not None
        assert relayer.step() is None

    remote.close()
    assert world.balance(S, "Client1") == 100


def test_a_node_that_dies_in_the_middle_of_an_answer_is_tried_again_later() -> None:
    """An error of this project's, which `run_relayers` knows how to meet."""
    with socket.create_server(("127.0.0.1", 0)) as node:

        def answer_half() -> None:
            connection, _ = node.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")

        thread = threading.Thread(target=answer_half)
        thread.start()
        provider = HttpProvider(f"http://127.0.0.1:{node.getsockname()[1]}")
        with pytest.raises(ChainError, match="no node answers"):
            provider.dial()
        thread.join()


# Sending


def test_a_packet_that_would_revert_is_not_sent(world: World) -> None:
    world.lock(T, "Client1", 100)
    world.confirm(T)
    relayer = world.relayer(T)
    packet = relayer.next_packet()
    assert packet is not None
    height = world.chain(S).height()

    with pytest.raises(TransactionReverted, match="MalformedSeal"):
        relayer.deliver(replace(packet, seal=b""))

    assert world.chain(S).height() == height


def test_a_relayer_overtaken_by_another_has_nothing_to_report(world: World) -> None:
    world.lock(T, "Client1", 100)
    world.confirm(T)
    journal = Journal(None)
    slow, fast = world.relayer(T, journal), world.fresh().relayer(T, journal)
    packet = slow.next_packet()
    assert packet is not None
    assert fast.step() is not None

    assert slow.deliver(packet) is None
    assert world.balance(S, "Client1") == 100


def test_a_relayer_partly_overtaken_reports_what_it_did_itself(world: World) -> None:
    for _ in range(3):
        world.lock(T, "Client1", 100)
    world.confirm(T)
    relayer = world.relayer(T)
    packet = relayer.next_packet()
    assert packet is not None
    world.deliver(T, world.packet(T, limit=1))

    delivery = relayer.deliver(packet)

    assert delivery is not None
    assert (delivery.first, delivery.processed) == (2, 2)
    assert world.balance(S, "Client1") == 300


def test_a_packet_that_would_fill_a_block_is_split(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energyshare.bridge.relayer.GAS_SHARE", 0.01)
    for _ in range(20):
        world.lock(T, "Client1", 100)
    world.confirm(T)
    relayer = world.relayer(T)

    deliveries = []
    while (delivery := relayer.step()) is not None:
        deliveries.append(delivery)

    assert len(deliveries) > 1
    assert sum(delivery.processed for delivery in deliveries) == 20
    assert max(delivery.gas_used for delivery in deliveries) <= 300_000
    assert world.balance(S, "Client1") == 2_000


def test_a_packet_that_no_block_could_hold_is_split(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node does not say how much it would need: it says that the call fails."""
    for _ in range(20):
        world.lock(T, "Client1", 100)
    world.confirm(T)
    relayer = world.relayer(T)
    estimate = world.chain(S).estimate

    def within_250000(what: ContractFunction, account: LocalAccount) -> int:
        return estimate({"to": what.address, "data": what._encode_transaction_data(), "gas": 250_000}, account)

    monkeypatch.setattr(world.chain(S), "estimate", within_250000)

    deliveries = []
    while (delivery := relayer.step()) is not None:
        deliveries.append(delivery)

    assert len(deliveries) > 1
    assert sum(delivery.processed for delivery in deliveries) == 20
    assert world.balance(S, "Client1") == 2_000


def test_a_block_too_small_for_one_transfer_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energyshare.bridge.relayer.GAS_SHARE", 0.001)
    world.lock(T, "Client1", 100)
    world.confirm(T)

    with pytest.raises(EnergyShareError, match="raise the destination's gas limit"):
        world.relayer(T).step()


def test_a_failing_relayer_tries_again_and_does_not_stop_the_other(world: World) -> None:
    world.lock(T, "Client1", 100)
    world.lock(S, "EC", 100)
    for side in Side:
        world.confirm(side)
    failing, other = world.relayer(T), world.relayer(S)
    sealers, failing.sealers = failing.sealers, []
    recovered = threading.Event()

    def fail_then_recover() -> Packet | None:
        """In place of the relayer's own: the sealers come up after the first failure."""
        try:
            return Relayer.next_packet(failing)
        except QuorumMissing:
            failing.sealers = sealers
            recovered.set()
            raise

    failing.next_packet = fail_then_recover  # type: ignore[method-assign]
    with _running(failing, other):
        _wait(lambda: _drained(world))

    assert recovered.is_set()
    assert world.balance(S, "Client1") == 100
    assert world.balance(T, "EC") == 1_000_100


def test_nothing_locked_or_nothing_confirmed_is_nothing_to_do(world: World) -> None:
    relayer = world.relayer(T)
    assert relayer.step() is None
    world.lock(T, "Client1", 100)
    world.confirm(T, 5)
    assert relayer.step() is None
    world.confirm(T, 1)
    assert relayer.step() is not None
