"""A network with its terminals under fault: money, energy and meters agree whatever dies, restarts or lies."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from eth_account import Account

from energyshare.amount import BASE_UNITS
from energyshare.chain.keys import Keyring
from energyshare.chain.sending import poll
from energyshare.deployment.actors import COMPANY, Actors
from energyshare.deployment.deploy import StationTerms, Terms
from energyshare.deployment.ends import SiteRecord, Way
from energyshare.deployment.local import LocalNetwork
from energyshare.deployment.site import Site, reports
from energyshare.dispatch.agents import Act, Agent, EventReference, Step, connection_made, run
from energyshare.dispatch.client import Order, SchedulerClient
from energyshare.dispatch.dispatcher import StationState
from energyshare.dispatch.rules import Rules, Service
from energyshare.dispatch.schedule import Schedule
from energyshare.dispatch.terminals import _reference
from energyshare.ledger.audit import audit
from energyshare.physical.device import Transfer
from energyshare.physical.link import Link
from energyshare.physical.messages import LineReading, MeterReading, Statement, Told, encoded
from energyshare.physical.terminal import StationTerminal, Terminal
from energyshare.physical.topics import Topics
from energyshare.side import Side

SUPPLY, ACQUIRE = Service.SUPPLY, Service.ACQUIRE
BLOCK_TIME_S = 0.1
RIGHTS = 30 * BASE_UNITS
FLOAT = 20 * BASE_UNITS
LOSSES = {"StationA": 500, "StationB": 1_000}
"""Of The user's lines, in basis points: A comes first."""


def _terms() -> Terms:
    state = StationState(40 * BASE_UNITS, 20 * BASE_UNITS, can_supply=True, can_acquire=True)
    return Terms(
        tokens={COMPANY: BASE_UNITS},
        rights={"Client1": RIGHTS},
        rules=Rules(idle_blocks=3_000),
        stations=tuple(StationTerms(name, state, FLOAT) for name in LOSSES),
        lines={"Client1": LOSSES},
    )


@dataclass
class Scene:
    """Two stations and a user, on chains that make blocks by themselves."""

    local: LocalNetwork
    site: Site
    steps: list[tuple[Agent, Step]] = field(default_factory=list)

    @property
    def schedule(self) -> Schedule:
        return self.site.schedule

    def key(self, name: str) -> str:
        return self.local.network.party(name).addresses[Side.SCHEDULE]

    def order(self, service: Service, units: int) -> Order:
        return Order(service, units, self.schedule.chain.height() + 1)

    def units(self) -> list[tuple[str, Service]]:
        """The user's, as the chain has them on record."""
        records = self.schedule.unit_records(user=self.key("Client1"))
        return [(list(LOSSES)[record.station - 1], record.service) for record in records]

    def meter(self) -> MeterReading:
        return self.site.feeder.user("client1").read()

    def suspended(self) -> list[str]:
        lines = self.schedule.lines_of(self.key("Client1"))
        return [list(LOSSES)[line.station - 1] for line in lines if line.suspended]

    @contextmanager
    def serving(self, order: Order, **options: int) -> Iterator[SchedulerClient]:
        """The user's client at work, by a gateway of its own."""
        stop, failures = threading.Event(), list[Exception]()
        with self.site.user("Client1") as end:
            client = end.client(order, **options)

            def work() -> None:
                try:
                    run([client], stop, 0.02, 0.5, lambda agent, step: self.steps.append((agent, step)))
                except Exception as error:
                    failures.append(error)

            thread = threading.Thread(target=work)
            thread.start()
            try:
                yield client
            finally:
                stop.set()
                thread.join()
        assert not failures, failures

    def wait_until_done(self, client: SchedulerClient) -> None:
        self.wait_until(lambda: (client, Act.DONE) in [(agent, step.act) for agent, step in self.steps])

    def wait_until(self, reached: Callable[[], bool]) -> None:
        for _ in poll(30):
            self.site.check()
            if reached():
                return
        raise AssertionError(f"not in 30 s; units {self.units()}, last steps {self.steps[-3:]}")

    def assert_lawful(self, rights_wh: int) -> None:
        """No energy from nowhere, no right from nowhere, and the user holds `rights_wh`."""
        schedule = self.schedule
        assert self.site.balance.difference == 0
        assert schedule.user_rights(self.key("Client1")) == rights_wh
        stations = sum(schedule.station_rights(number) for number in (1, 2))
        assert rights_wh + stations == RIGHTS + 2 * FLOAT
        assert audit(self.local.network).ok


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as closing:
        local = closing.enter_context(LocalNetwork("anvil", Actors(Keyring()), _terms(), on_step=lambda _: None))
        local.run(BLOCK_TIME_S)
        site = closing.enter_context(Site.start(local.network, reports, journals=tmp_path))
        site.run(0.02)
        yield Scene(local, site)


def _vanish(terminal: Terminal) -> None:
    """Its connection ends without a word, as that of a process that was killed."""
    client = terminal._link._client
    client.reconnect_delay_set(3_600, 3_600)
    opened = client.socket()
    assert isinstance(opened, socket.socket)
    opened.shutdown(socket.SHUT_RDWR)


def test_a_station_terminal_killed_between_moving_and_reading_costs_no_unit(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = scene.site.terminals["stationa"]
    device = terminal._device
    moved, released = threading.Event(), threading.Event()
    whole = device.inject

    def dying(transfer: Transfer) -> None:
        whole(transfer)
        moved.set()
        released.wait()  # nothing that follows is ever seen

    with ExitStack() as closing, scene.serving(scene.order(SUPPLY, 4)) as client:
        closing.callback(released.set)
        scene.wait_until(lambda: len(scene.units()) == 1)
        with monkeypatch.context() as killed:
            killed.setattr(device, "inject", dying)
            scene.wait_until(moved.is_set)
            _vanish(terminal)
        again = StationTerminal(
            "stationa",
            device,
            terminal._link.address,
            account=terminal._account,
            trusted=scene.key("StationA"),
            journal=tmp_path / "stationa.sqlite",
        )
        again.start()
        closing.callback(again.close)
        scene.wait_until_done(client)

    assert scene.units() == [("StationA", SUPPLY)] * 4
    assert scene.meter().absorbed_wh == 4 * 950
    assert scene.suspended() == []
    scene.assert_lawful(RIGHTS - 4_000)


@pytest.mark.parametrize("service", [SUPPLY, ACQUIRE])
def test_a_broker_restarted_under_an_order_costs_no_unit(scene: Scene, service: Service) -> None:
    broker = scene.site.broker
    assert broker is not None
    with scene.serving(scene.order(service, 5)) as client:
        for units in (1, 3):
            scene.wait_until(lambda: len(scene.units()) >= units)  # noqa: B023 - waited for at once
            broker.stop()
            broker.start()
        scene.wait_until_done(client)

    assert scene.units() == [("StationA", service)] * 5
    assert scene.suspended() == []
    scene.assert_lawful(RIGHTS - 5_000 if service is SUPPLY else RIGHTS + 5_000)


def test_a_meter_that_reads_too_little_is_disputed_and_the_order_goes_on_elsewhere(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = scene.site.terminals["client1"]._device
    whole = device.read
    with scene.serving(scene.order(SUPPLY, 5), patience_blocks=20, window_s=1) as client:
        scene.wait_until(lambda: len(scene.units()) >= 2)
        monkeypatch.setattr(device, "read", lambda: MeterReading(0, max(0, whole().absorbed_wh - 500)))
        scene.wait_until_done(client)

    units = scene.units()
    assert len(units) == 5
    assert units == sorted(units), "all from A, then all from B"
    assert {station for station, _ in units} == {"StationA", "StationB"}
    assert scene.suspended() == ["StationA"]
    scene.assert_lawful(RIGHTS - 5_000)


@contextmanager
def _thief(terminal: Terminal) -> Iterator[Callable[[str, Told], None]]:
    """Who has a terminal's account at the broker, and not its key. Says what it likes, signed with a key of its own."""
    key, link = Account.create(), Link(terminal._link.address, keeps_session=False)
    link.start()

    def lie(topic: str, message: Told) -> None:
        for said in (Statement.make(topic, message, 2**62, key), message):
            link.publish(topic, encoded(said), retain=True).result(10)

    yield lie
    link.close()


def test_the_thief_of_a_users_account_makes_the_buyer_pay_for_nothing(scene: Scene) -> None:
    """Station A is paid and supplies nothing; the thief says that all of it came."""
    scene.site.terminals["stationa"].close()
    with (
        _thief(scene.site.terminals["client1"]) as lie,
        scene.serving(scene.order(SUPPLY, 4), patience_blocks=20, window_s=1) as client,
    ):
        scene.wait_until(lambda: len(scene.units()) == 1)
        for units in range(1, 5):
            lie(Topics("client1").meter, MeterReading(0, units * 950))
        scene.wait_until_done(client)

    assert scene.units() == [("StationA", SUPPLY)] + [("StationB", SUPPLY)] * 3
    assert scene.suspended() == ["StationA"]
    scene.assert_lawful(RIGHTS - 4_000)


def test_the_thief_of_a_stations_account_sells_it_nothing(scene: Scene) -> None:
    """The user's terminal sends nothing; the thief says that the meter on its line saw a unit."""
    user, chain = scene.key("Client1"), scene.schedule.chain
    account = scene.local.network.account(Side.SCHEDULE, "Client1")
    with _thief(scene.site.terminals["stationa"]) as lie:
        scene.schedule.connect(account, ACQUIRE, 0)
        made = connection_made(scene.schedule, user, ACQUIRE, chain.height())
        assert made is not None
        lie(Topics("stationa").line("client1"), LineReading(_reference(EventReference.of(chain, made)), 1_000))
        lied_at = chain.height()
        scene.wait_until(lambda: chain.height() > lied_at + 20)

    assert scene.units() == []
    assert scene.schedule.user_rights(user) == RIGHTS


def test_two_clients_with_gateways_of_their_own_draw_an_order_once(scene: Scene) -> None:
    order = scene.order(SUPPLY, 6)
    with scene.serving(order) as first, scene.serving(order) as second:
        scene.wait_until_done(first)
        scene.wait_until_done(second)

    assert scene.units() == [("StationA", SUPPLY)] * 6
    assert scene.meter().absorbed_wh == 6 * 950
    assert scene.suspended() == []
    scene.assert_lawful(RIGHTS - 6_000)


def test_a_user_without_a_terminal_gets_nothing_and_stops_nobody_else(scene: Scene) -> None:
    schedule, network = scene.schedule, scene.local.network
    stranger, chain = network.actors.relayer(Side.SCHEDULE), scene.schedule.chain
    schedule.set_lines(network.account(Side.SCHEDULE, COMPANY), stranger.address, [(1, 500)])
    ours = network.account(Side.SCHEDULE, "Client1")
    chain.transact(schedule.rights.functions.transfer(stranger.address, 1_000), ours)
    schedule.approve(stranger, 1_000)
    schedule.connect(stranger, SUPPLY, 0)
    schedule.connect(stranger, ACQUIRE, 0)

    with scene.serving(scene.order(SUPPLY, 2)) as client:
        scene.wait_until_done(client)
    with scene.serving(scene.order(ACQUIRE, 1)) as client:
        scene.wait_until_done(client)

    assert scene.units() == [("StationA", SUPPLY)] * 2 + [("StationA", ACQUIRE)]
    assert scene.meter().absorbed_wh == 2 * 950
    assert scene.site.balance.difference == 0


def test_the_end_of_a_part_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> MeterReading:
        raise RuntimeError("a bug")

    scene.site.check()
    monkeypatch.setattr(scene.site.terminals["stationb"]._device, "read", broken)

    with pytest.raises(RuntimeError, match="a bug"):
        scene.wait_until(lambda: False)


def test_the_way_to_the_terminals_is_for_the_owner_alone_whatever_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "network.site.json"
    path.write_text("{}")
    path.chmod(0o644)
    record = SiteRecord({"Client1": Way("mqtt://client1-gateway:secret@127.0.0.1:1883", "0x" + "11" * 20)})

    record.write(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SiteRecord.read(path) == record
    assert list(tmp_path.iterdir()) == [path]
