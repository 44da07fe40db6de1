"""Terminals of `energyshare up`, and in processes of their own: energy that is bought and sold crosses a wire."""

from __future__ import annotations

import functools
import json
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from energyshare.deployment.ends import SiteRecord, terminal_of
from energyshare.deployment.record import NetworkRecord
from energyshare.physical.broker import Broker
from energyshare.physical.inverter import SimulatedInverter
from energyshare.physical.key_file import KeyFileError, key_in
from energyshare.physical.link import Link
from energyshare.physical.storage import Storage
from energyshare.physical.sunspec import SunSpecStorage
from energyshare.side import Side
from tests.cli.processes import Process, Ran, Up

Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("network")
    settings = folder / "settings.toml"
    settings.write_text("[rights]\nEC = 1000\nClient1 = 30\n")
    up = Up(folder, "--chain", "py-evm", "--block-time", "0.2", "--sun", "0", "--settings", str(settings))
    up.wait_for("record in")
    yield up
    up.kill()


def test_users_buy_and_sell_by_their_terminals(run: Run, up: Up) -> None:
    at = ("--network", str(up.record), "--json", "-")

    bought = run("dispatch", "buy", "Client1", "2", *at)
    sold = run("dispatch", "sell", "Client1", "1", *at)

    assert (bought.status, sold.status) == (0, 0), bought.err + sold.err
    assert json.loads(bought.out)["stations"] == {"StationB": 2}
    assert json.loads(sold.out)["units"] == 1
    assert json.loads(run("query", "wallet", "Client1", *at).out)["Client1"]["schedule"] == "29"
    assert run("audit", "--network", str(up.record)).status == 0


def test_the_way_to_the_terminals_is_for_the_owner_alone_and_goes_with_the_network(up: Up) -> None:
    path = SiteRecord.beside(up.record)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    record = SiteRecord.read(path)
    assert record is not None
    assert set(record.users) == {"Client1", "Client2", "Client3"}
    status, said = up.stop()
    assert status == 0, said
    assert "accepted: 1 units of 1 users" in said
    assert not path.exists()


class Wire:
    """From a station's inverter to a user's: what leaves the one reaches the other, less a tenth."""

    def __init__(self, station: SimulatedInverter, user: SimulatedInverter) -> None:
        self._station = station
        self._end = SunSpecStorage("127.0.0.1", user.port, absorb_power_w=10_000, poll_seconds=0.01)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._carry)

    def _carry(self) -> None:
        carried_wh = 0
        while not self._stop.wait(0.05):
            arrived_wh = self._station.storage.given_out_wh * 9 // 10
            self._end.absorb(arrived_wh - carried_wh)
            carried_wh = arrived_wh

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._end.close()


def test_a_unit_is_bought_by_terminals_and_agents_in_processes_of_their_own(run: Run, tmp_path: Path) -> None:
    """Chains, two terminals, the station's agent and the buyer: five processes, with a broker and two inverters."""
    settings = tmp_path / "settings.toml"
    settings.write_text("[rights]\nEC = 1000\nClient1 = 30\n")
    with ExitStack() as closing:
        up = Up(tmp_path, "--chain", "py-evm", "--block-time", "0.2", "--no-terminals", "--settings", str(settings))
        closing.callback(up.kill)
        broker = closing.enter_context(Broker())
        at_station, at_user = (
            closing.enter_context(SimulatedInverter(Storage(40_000, stored_wh, 20_000), speed=36_000))
            for stored_wh in (20_000, 0)
        )
        closing.enter_context(Wire(at_station, at_user))
        up.wait_for("record in")
        parties = {party.name: party.addresses[Side.SCHEDULE] for party in NetworkRecord.read(up.record).parties}

        def started(*args: str) -> Process:
            process = Process(*args)
            closing.callback(process.kill)
            return process

        def terminal(kind: str, name: str, inverter: SimulatedInverter) -> Process:
            account = broker.terminal(terminal_of(name))
            return started(
                *("terminal", kind, name, "--trusted", parties[name], "--broker", account.url),
                *("--device", f"modbus://127.0.0.1:{inverter.port}"),
                *("--key-file", str(tmp_path / f"{name}.key"), "--journal", str(tmp_path / f"{name}.sqlite")),
            )

        def way_to(name: str, process: Process) -> tuple[str, ...]:
            address = process.wait_for("signs as").partition("signs as ")[2].split()[0]
            gateway = broker.gateway(f"{terminal_of(name)}-gateway", [terminal_of(name)])
            return "--broker", gateway.url, "--terminal-address", address, "--network", str(up.record)

        station, user = terminal("station", "StationB", at_station), terminal("user", "Client1", at_user)
        agent = started("dispatch", "station", "StationB", "--supply-only", *way_to("StationB", station))
        buyer = started("dispatch", "buy", "Client1", "1", *way_to("Client1", user))
        buyer.wait_for("done")
        station.wait_for("1000 Wh to client1: complete")
        ends = [process.stop() for process in (agent, user, station)]

        assert [status for status, _ in ends] == [0, 0, 0], ends
        assert (at_station.storage.given_out_wh, at_user.storage.taken_in_wh) == (1_000, 900)
        at = ("--network", str(up.record), "--json", "-")
        assert json.loads(run("query", "wallet", "Client1", *at).out)["Client1"]["schedule"] == "29"
        assert json.loads(run("query", "disputes", *at).out)["disputes"] == []
        assert "buys: no" in run("dispatch", "report", "StationB", "--network", str(up.record)).out


LONELY = ("--broker", "mqtt://a:b@127.0.0.1:1", "--trusted", "0x" + "11" * 20)


@pytest.mark.parametrize(
    ("args", "fact"),
    [
        ((*LONELY,), "name the --device, or the --capacity"),
        ((*LONELY, "--capacity", "4", "--device", "modbus://127.0.0.1:1"), "name the --device, or the --capacity"),
        ((*LONELY, "--capacity", "4", "--stored", "5"), "--stored is more than the --capacity"),
        ((*LONELY, "--device", "http://127.0.0.1"), "write modbus://host:port"),
        ((*LONELY, "--device", "modbus://127.0.0.1:1"), "no inverter answers at 127.0.0.1:1"),
        ((*LONELY[:2], "--capacity", "4", "--trusted", "0x12"), "is no address"),
        (("--broker", "mqtt://127.0.0.1", *LONELY[2:], "--capacity", "4"), "needs user and password"),
        ((*LONELY, "--capacity", "4"), "the broker at 127.0.0.1:1 does not answer"),
    ],
)
def test_a_terminal_that_cannot_run_says_why_in_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], fact: str
) -> None:
    monkeypatch.setattr(Link, "start", functools.partialmethod(Link.start, 0.2))
    ran = run("terminal", "station", "StationB", *args, "--key-file", str(tmp_path / "key"))

    assert ran.status == 1
    assert fact in ran.err
    assert ran.err.count("\n") == 1, ran.err


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key"
    made = key_in(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key_in(path).address == made.address
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="others may read"):
        key_in(path)
    path.chmod(0o600)
    path.write_text("no key\n")
    with pytest.raises(KeyFileError, match="holds no key"):
        key_in(path)
    with pytest.raises(KeyFileError, match="cannot keep a key"):
        key_in(path / "under")


def test_a_terminal_that_is_named_by_half_is_refused(run: Run) -> None:
    ran = run("dispatch", "buy", "Client1", "1", "--terminal-address", "0x" + "11" * 20)

    assert (ran.status, "go together" in ran.err) == (1, True)
