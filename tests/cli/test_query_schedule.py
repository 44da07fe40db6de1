"""`query` on the scheduling chain: every record of the paper's experiment 2 has its command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from energyshare.chain.keys import Keyring
from energyshare.deployment.actors import Actors
from energyshare.deployment.local import LocalNetwork
from tests.bridge.world import World
from tests.cli.processes import Ran
from tests.ledger.town import SUPPLY, TERMS, Town, experiment_2

Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A network after experiment 2, one dispute and one connection that is open; reached by URL."""
    path = tmp_path_factory.mktemp("network") / "network.json"
    with LocalNetwork("py-evm", Actors(Keyring()), TERMS, serve=True) as local:
        local.write_record(path)
        town = Town.of(World(local.network, local.network.actors, TERMS))
        for user in TERMS.lines:
            town.schedule.approve(town.key(user), 10**9)
        experiment_2(town)
        town.report("StationA", stored=12_000, supply=True)
        town.apply("Client1", SUPPLY, 2)
        town.close("Client1", SUPPLY, reading_wh=5)
        town.connect("Client2", SUPPLY)
        yield path


@pytest.fixture
def ask(run: Run, record: Path) -> Callable[..., Any]:
    """What `query` answers as JSON; its tables must come out as well."""

    def ask(*args: str) -> Any:
        ran = run("query", *args, "--network", str(record))
        assert (ran.status, ran.err) == (0, ""), ran.err
        assert ran.out
        return json.loads(run("query", *args, "--network", str(record), "--json", "-").out)

    return ask


def test_stations_with_their_state_rights_and_period(ask: Callable[..., Any]) -> None:
    listed = ask("stations")["stations"]

    assert list(listed) == ["StationA", "StationB", "StationC"]
    b = listed["StationB"]
    assert (b["id"], b["stored"], b["can_supply"], b["connected_supply"], b["transfers"]) == (2, "6", False, 0, 14)
    assert (b["rights"], b["due"], b["float"]) == ("64", "0", "50")
    assert b["period_end"].endswith("Z")
    assert listed["StationC"]["connected_supply"] == 1


def test_lines_are_the_papers_tables(ask: Callable[..., Any]) -> None:
    lines = ask("stations", "--lines")["lines"]

    assert [(line["station"], line["loss_bp"]) for line in lines["Client1"]] == [
        ("StationB", 1_000),
        ("StationA", 1_500),
    ]
    assert [line["suspended"] for line in lines["Client1"]] == [False, True]


def test_qualification_names_the_station_and_its_numbers(ask: Callable[..., Any]) -> None:
    (sale,) = ask("qualification", "Client3", "sell")
    assert (sale["qualified"], sale["station"], sale["stored"], sale["loss_bp"]) == (True, "StationC", "19", 2_500)
    assert [one["verdict"] for one in sale["candidates"]] == ["unavailable", "assigned"]

    supply, acquire = ask("qualification", "Client2")
    assert (supply["side"], supply["obstacle"].split(":")[0]) == ("supply", "connected to StationC")
    assert acquire["side"] == "acquire"

    (check,) = ask("qualification", "StationC", "buy")
    assert (check["station"], check["level"], check["connected"], check["required"]) == ("StationC", "19", 1, "4")
    assert check["qualified"] is True


def test_records_of_figure_23_are_one_a_unit(ask: Callable[..., Any]) -> None:
    bought = ask("records", "--user", "Client1", "--station", "StationB")["schedule"]
    sold = ask("records", "--chain", "schedule", "--user", "Client3")["schedule"]

    assert [(one["from"], one["to"], one["token"]) for one in bought] == [("Client1", "StationB", "1")] * 14
    assert [(one["from"], one["to"], one["token"]) for one in sold] == [("StationA", "Client3", "1")] * 13
    assert ask("records", "--chain", "schedule", "--limit", "2")["schedule"][-1]["from"] == "Client2"


def test_connections_of_a_user_and_of_a_station(ask: Callable[..., Any]) -> None:
    of_user = ask("connections", "Client1")
    assert [(one["station"], one["units"], one["end"]) for one in of_user] == [
        ("StationB", 10, "limit"),
        ("StationB", 4, "station"),
        ("StationA", 2, "closed"),
    ]

    (open_now,) = ask("connections", "StationC", "--open")
    assert (open_now["user"], open_now["end"], open_now["end_block"]) == ("Client2", None, None)
    assert len(ask("connections", "Client1", "--limit", "1")) == 1


def test_rules_and_the_record_of_their_changes(ask: Callable[..., Any]) -> None:
    rules = ask("rules")

    assert {name: rules[name] for name in ("k", "reserve_wh", "idle_blocks", "period_s", "unit_wh")} == {
        "k": 10,
        "reserve_wh": 2_000,
        "idle_blocks": 300,
        "period_s": 86_400,
        "unit_wh": 1_000,
    }
    assert {(change["rule"], change["previous"], change["current"]) for change in rules["changes"]} >= {
        ("k", 0, 10),
        ("period_s", 0, 86_400),
        ("float_wh", 0, 100_000),
    }


def test_disputes_and_the_lines_suspended_for_them(ask: Callable[..., Any]) -> None:
    found = ask("disputes")

    (dispute,) = found["disputes"]
    assert (dispute["user"], dispute["station"], dispute["meter_of"]) == ("Client1", "StationA", "Client1")
    assert (dispute["units"], dispute["reading_wh"], dispute["expected_wh"]) == (2, 5, 1_700)
    assert found["suspended"] == [{"user": "Client1", "station": "StationA"}]


@pytest.mark.parametrize(
    ("args", "fact"),
    [
        (("qualification", "Client9"), "no party 'Client9'"),
        (("qualification", "Client1", "borrow"), "borrow"),
        (("connections", "Bob"), "no party 'Bob'"),
        (("records", "--user", "Bob"), "no party 'Bob'"),
        (("records", "--station", "Client1"), "registered as no station"),
        (("records", "--limit", "0"), "limit"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(run: Run, record: Path, args: tuple[str, ...], fact: str) -> None:
    ran = run("query", *args, "--network", str(record))

    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert fact in ran.err


def test_the_audit_shows_the_laws_of_the_scheduling_chain(run: Run, record: Path) -> None:
    ran = run("audit", "--network", str(record), "--json", "-")

    assert ran.status == 0
    report = json.loads(ran.out)
    assert report["ok"] is True
    assert all(finding["ok"] for finding in report["scheduling"])
    assert len(report["scheduling"]) == 14
