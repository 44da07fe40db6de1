"""Bad input gets one line that says what and how to mend it, and exit status 1."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.processes import Ran

Run = Callable[..., Ran]

DEAD_URL = "http://127.0.0.1:9"


def refused(ran: Ran, *facts: str) -> None:
    assert ran.status == 1
    assert ran.out == ""
    assert ran.err.count("\n") == 1, ran.err
    assert ran.err.startswith("energyshare: ")
    for fact in facts:
        assert fact in ran.err


@pytest.fixture
def dead_record(tmp_path: Path) -> Path:
    """The record of a network that no longer runs."""
    chain = {
        "url": DEAD_URL,
        "chain_id": 31337,
        "genesis_hash": "0x" + "11" * 32,
        "deployed_at": 1,
        "manager": "0x" + "22" * 20,
        "asset": "0x" + "22" * 20,
        "aliases": "0x" + "22" * 20,
        "lock": "0x" + "22" * 20,
        "light_client": "0x" + "22" * 20,
        "market": None,
        "dispatch": None,
        "sealers": [],
    }
    path = tmp_path / "network.json"
    path.write_text(json.dumps({"version": 2, "chains": {"transaction": chain, "schedule": chain}, "parties": []}))
    return path


def test_unknown_chain_names_the_choices(run: Run) -> None:
    refused(run("experiment", "1", "--chain", "fabric"), "fabric", "py-evm", "anvil")


def test_unknown_experiment_names_the_choices(run: Run) -> None:
    refused(run("experiment", "9"), "9", "1")


def test_unknown_command_points_to_the_help(run: Run) -> None:
    refused(run("dispach"), "dispach", "--help")


def test_unknown_side_names_both_chains(run: Run) -> None:
    refused(run("convert", "Client1", "5", "--from", "energy"), "energy", "transaction", "schedule")


@pytest.mark.parametrize("amount", ["-5", "0", "-0.001"])
def test_amount_must_be_positive(run: Run, amount: str) -> None:
    refused(run("purchase", "Client1", amount), "above 0", amount)


@pytest.mark.parametrize(
    ("amount", "fact"),
    [
        ("0.0001", "3 decimals"),
        ("many", "no amount"),
        ("NaN", "above 0"),
        ("1e40", "more than"),
        ("1e999999", "more than"),
    ],
)
def test_amount_must_be_one_that_can_be_paid(run: Run, amount: str, fact: str) -> None:
    refused(run("purchase", "Client1", amount), fact)


def test_missing_record_says_how_to_get_one(run: Run, tmp_path: Path) -> None:
    refused(run("query", "wallet", "--network", str(tmp_path / "none.json")), "none.json", "energyshare up")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"version": 2}',
        '{"version": 99}',
        '{"version": 2, "chains": {}, "parties": []}',
        '{"version": 2, "chains": [], "parties": []}',
        "\x00\xff",
    ],
)
def test_wrong_file_as_record_is_refused(run: Run, tmp_path: Path, content: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_bytes(content.encode("latin-1"))
    refused(run("audit", "--network", str(path)), "wrong.json")


def test_folder_as_record_is_refused(run: Run, tmp_path: Path) -> None:
    refused(run("query", "records", "--network", str(tmp_path)), "--network")


def test_record_of_a_stopped_network_names_the_dead_url(run: Run, dead_record: Path) -> None:
    refused(run("query", "transfers", "--network", str(dead_record)), DEAD_URL)


def test_deploy_to_a_dead_url_names_it(run: Run, tmp_path: Path) -> None:
    ran = run(
        "deploy",
        "--transaction",
        DEAD_URL,
        "--schedule",
        DEAD_URL,
        "--network",
        str(tmp_path / "network.json"),
    )
    refused(ran, DEAD_URL)
    assert not (tmp_path / "network.json").exists()


def test_deploy_to_something_that_is_no_url_is_refused(run: Run, tmp_path: Path) -> None:
    refused(
        run("deploy", "--transaction", "chain", "--schedule", "chain", "--network", str(tmp_path / "n.json")),
        "chain",
    )
    refused(
        run("deploy", "--transaction", "http://[", "--schedule", "http://[", "--network", str(tmp_path / "n.json")),
        "http://[",
    )


def test_deploy_keeps_an_existing_record(run: Run, dead_record: Path) -> None:
    before = dead_record.read_text()
    refused(
        run("deploy", "--transaction", DEAD_URL, "--schedule", DEAD_URL, "--network", str(dead_record)),
        "exists",
    )
    assert dead_record.read_text() == before


def test_up_replaces_no_record_of_another_network(run: Run, dead_record: Path) -> None:
    text = dead_record.read_text().replace("31337", "7")
    dead_record.write_text(text)
    refused(run("up", "--chain", "py-evm", "--network", str(dead_record)), str(dead_record), "another network")
    assert dead_record.read_text() == text


def test_variable_that_is_no_json_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENERGYSHARE_TOKENS", "many")
    refused(run("up"), "tokens", "JSON")


def test_port_taken_is_named(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run("up", "--chain", "py-evm", "--port", str(port), "--network", str(tmp_path / "network.json"))
    assert ran.status == 1
    assert str(port) in ran.err
    assert ran.err.count("\n") == 1
    assert not (tmp_path / "network.json").exists()


def test_port_beyond_the_last_is_refused(run: Run) -> None:
    refused(run("up", "--port", "70000"), "70000")


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("sealers = 0", "sealers"),
        ("confirmations = -1", "confirmations"),
        ("colour = 'red'", "colour"),
        ("sealers = ", "TOML"),
        ("rights_lot = 7", "7"),
        ("[tokens]\nEC = -5", "above 0"),
        ("others = ['Mallory']", "Mallory"),
        ("mnemonic = 'one two three'", "mnemonic"),
        ("k = 0", "setting k"),
        ("k = 65536", "setting k"),
        ("reserve_per_user = -1", "reserve_per_user"),
        ("reserve_per_user = 0.0001", "3 decimals"),
        ("idle_blocks = 0", "idle_blocks"),
        ("period_s = 0", "period_s"),
        ("[stations.StationA]\ncapacity = 1\nstored = 2", "more than its capacity"),
        ("[stations.StationA]\nstored = 2", "stations.StationA.capacity"),
        ("[stations.StationA]\ncapacity = 5\ncolour = 'red'", "colour"),
        ("[stations.StationA]\ncapacity = -5", "above 0"),
        ("lines = {}\n[stations.Depot]\ncapacity = 5", "Depot"),
        ("[lines.Client1]\nStationZ = 5", "StationZ"),
        ("[lines.Client1]\nStationA = 10001", "10001"),
    ],
)
def test_settings_that_cannot_be_used_are_named(run: Run, tmp_path: Path, text: str, fact: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    ran = run("up", "--chain", "py-evm", "--settings", str(path), "--network", str(tmp_path / "network.json"))
    assert ran.status == 1
    assert ran.err.count("\n") == 1
    assert fact in ran.err
    assert not (tmp_path / "network.json").exists()


def test_settings_file_that_is_missing_is_named(run: Run, tmp_path: Path) -> None:
    refused(run("up", "--settings", str(tmp_path / "none.toml")), "none.toml")


def test_alias_must_be_twenty_bytes(run: Run) -> None:
    refused(run("claim", "0x1234", "--chain", "schedule"), "20 bytes")
    refused(run("claim", "nonsense", "--chain", "schedule"), "nonsense")


def test_json_into_a_missing_folder_is_refused(run: Run, tmp_path: Path) -> None:
    ran = run("experiment", "1", "--json", str(tmp_path / "none" / "report.json"))
    refused(ran, "report.json")


def test_help_is_no_error(run: Run) -> None:
    ran = run("--help")
    assert ran.status == 0
    assert "experiment" in ran.out


def test_deploy_refuses_a_record_that_cannot_be_written_before_it_deploys(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    record = tmp_path / "file" / "network.json"
    refused(run("deploy", "--transaction", DEAD_URL, "--schedule", DEAD_URL, "--network", str(record)), "cannot write")


def test_credentials_in_a_url_are_refused_and_not_repeated(run: Run, tmp_path: Path) -> None:
    url = "http://user:hunter2@127.0.0.1:9"
    ran = run("deploy", "--transaction", url, "--schedule", url, "--network", str(tmp_path / "network.json"))
    refused(ran, "credentials")
    assert "hunter2" not in ran.err
