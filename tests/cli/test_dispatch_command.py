"""`energyshare dispatch`: users and stations of a running network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.processes import Process, Ran, Up

Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A network that runs, with rights for Client1."""
    folder = tmp_path_factory.mktemp("network")
    settings = folder / "settings.toml"
    settings.write_text("[rights]\nEC = 1000\nClient1 = 30\n")
    up = Up(folder, "--chain", "py-evm", "--block-time", "0.1", "--no-terminals", "--settings", str(settings))
    up.wait_for("record in")
    yield "--network", str(up.record)
    up.kill()


def test_a_user_buys_sells_and_the_station_answers(run: Run, at: tuple[str, str]) -> None:
    bought = run("dispatch", "buy", "Client1", "12", "--at-once", "4", *at, "--json", "-")
    assert bought.status == 0, bought.err
    report = json.loads(bought.out)
    assert (report["ordered"], report["units"], report["ok"], report["outcome"]) == (12, 12, True, "done")
    assert report["stations"] == {"StationB": 12}
    assert "--since" in bought.err

    again = run("dispatch", "buy", "Client1", "12", "--since", str(report["since_block"]), *at, "--json", "-")
    assert json.loads(again.out)["units"] == 12
    assert json.loads(run("query", "wallet", "Client1", *at, "--json", "-").out)["Client1"]["schedule"] == "18"

    station = Process("dispatch", "station", "StationB", *at)
    try:
        station.wait_for("stop with Ctrl-C")
        reported = run("dispatch", "report", "StationB", "--can-acquire", *at)
        assert reported.status == 0, reported.err
        sold = run("dispatch", "sell", "Client1", "3", "--at-once", "2", *at, "--json", "-")
        assert sold.status == 0, sold.err
        assert json.loads(sold.out)["stations"] == {"StationB": 3}
        status, said = station.stop()
        assert status == 0, said
        assert "accepted: 1 units of 1 users" in said
    finally:
        station.kill()


def test_who_does_not_want_to_wait_for_a_station_is_told_so(run: Run, at: tuple[str, str]) -> None:
    """Client2 has lines to A and C, which say that they do not buy."""
    for name in ("StationA", "StationC"):
        assert run("dispatch", "report", name, "--no-can-acquire", *at).status == 0

    ran = run("dispatch", "sell", "Client2", "2", "--no-wait", *at)

    assert ran.status == 1
    assert "none of 2 stations is available" in ran.err
    assert ran.err.count("\n") == 1


def test_a_user_without_rights_is_told_to_buy_some(run: Run, at: tuple[str, str]) -> None:
    ran = run("dispatch", "buy", "Client2", "2", *at, "--json", "-")

    assert ran.status == 1
    assert "buy rights" in ran.err.splitlines()[-1]
    assert json.loads(ran.out)["outcome"] == "no rights"


def test_closing_what_is_not_open_says_so(run: Run, at: tuple[str, str]) -> None:
    ran = run("dispatch", "close", "Client2", *at)

    assert (ran.status, ran.out.count("no connection is open")) == (0, 2)


def test_rules_are_shown(run: Run, at: tuple[str, str]) -> None:
    shown = json.loads(run("dispatch", "rules", *at, "--json", "-").out)

    assert shown == {"k": 10, "reserve_per_user": "2", "unit_wh": 1000, "idle_blocks": 300, "period_s": 86400}


@pytest.mark.parametrize(
    ("args", "fact"),
    [
        (("report", "StationA", "--stored", "900"), "cannot store 900000 Wh"),
        (("report", "StationA", "--empty", "--can-supply"), "available for supply"),
        (("report", "StationA", "--stored", "1", "--empty"), "either --stored or --empty"),
        (("report", "Client1", "--stored", "1"), "registered as no station"),
        (("settle", "StationA"), "lasts until"),
        (("buy", "StationA", "0"), "0"),
        (("buy", "Nobody", "1"), "no party 'Nobody'"),
        (("station", "StationZ"), "no party 'StationZ'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run: Run, at: tuple[str, str], args: tuple[str, ...], fact: str) -> None:
    ran = run("dispatch", *args, *at)

    assert ran.status == 1
    assert ran.err.count("\n") == 1, ran.err
    assert fact in ran.err


def test_a_report_changes_what_it_says_and_nothing_else(run: Run, at: tuple[str, str]) -> None:
    ran = run("dispatch", "report", "StationC", "--stored", "30.5", "--no-can-acquire", *at)

    assert ran.status == 0
    assert ran.out == "StationC stores 30.5 of 40; supplies: yes, buys: no\n"


def test_a_stranger_record_is_refused(run: Run, tmp_path: Path) -> None:
    ran = run("dispatch", "rules", "--network", str(tmp_path / "none.json"))

    assert ran.status == 1
    assert "no deployment record" in ran.err
