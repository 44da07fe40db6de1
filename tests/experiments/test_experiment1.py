from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from energyshare.errors import ChainError
from energyshare.experiments import single_chain
from energyshare.experiments.experiment1 import Experiment1, run
from energyshare.experiments.progress import Event, Observation, Stage
from energyshare.ledger import audit
from energyshare.side import Side


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def outcome(events: list[Event]) -> Experiment1:
    """The whole of experiment 1 and 1b on py-evm."""
    return run("py-evm", events.append)


@pytest.fixture(scope="module")
def report(outcome: Experiment1) -> Any:
    """As a program reads it."""
    return json.loads(json.dumps(outcome.to_json()))


def test_everything_comes_out_as_the_paper_says(outcome: Experiment1, report: Any) -> None:
    assert [observation for observation in outcome.observations if not observation.ok] == []
    assert report["ok"] is True
    assert list(report) == ["ok", "observations", "wallets", "records", "privacy", "readable"]


def test_wallets_end_as_in_figures_9_and_10(report: Any) -> None:
    assert report["wallets"] == {
        "Client1": {"transaction": "947", "schedule": "53"},
        "EC": {"transaction": "1300", "schedule": "700"},
    }


@pytest.mark.parametrize(
    ("moment", "name", "transaction", "schedule"),
    [
        ("at first", "Client1", "1000", "0"),
        ("at first", "EC", "1000", "1000"),
        ("purchase locked", "Client1", "927", "0"),
        ("purchase credited", "Client1", "927", "73"),
        ("purchase credited", "EC", "1000", "1000"),
        ("conversion locked", "Client1", "927", "53"),
        ("conversion credited", "Client1", "947", "53"),
        ("before the company's conversion", "EC", "1000", "1000"),
        ("the company's conversion credited", "EC", "1300", "700"),
        ("at last", "Client1", "947", "53"),
    ],
)
def test_wallets_are_observed_at_every_step_of_the_paper(
    report: Any, moment: str, name: str, transaction: str, schedule: str
) -> None:
    seen = {observation["step"]: observation for observation in report["observations"]}
    for side, amount in (("transaction", transaction), ("schedule", schedule)):
        observation = seen[f"{moment}: {name} on the {side} chain"]
        assert (observation["expected"], observation["actual"], observation["ok"]) == (amount, amount, True)


def test_records_are_those_of_figures_11_and_12(report: Any) -> None:
    def movements(side: str) -> list[tuple[str, str, str]]:
        return [(record["from"], record["to"], record["token"]) for record in report["records"][side]]

    converted = [("Client1", "Client1", "20"), ("EC", "EC", "300")]
    assert movements("transaction") == [("Client1", "EC", "73"), *converted]
    assert movements("schedule") == [("EC", "Client1", "73"), *converted]
    for made in report["records"].values():
        assert all(list(record) == ["from", "to", "token", "block"] for record in made)
        assert all(isinstance(record["block"], int) for record in made)


def test_neither_chain_shows_an_address_of_the_other(report: Any) -> None:
    assert report["privacy"] == {
        "transaction_addresses_on_schedule_chain": 0,
        "schedule_addresses_on_transaction_chain": 0,
    }


def test_a_station_reads_the_money_of_others_on_one_chain_and_not_on_two(report: Any) -> None:
    everything = {"money": 18, "energy": 26}
    for name in ("EC", "Client1", "Client2", "Client3"):
        assert report["readable"][name] == {"single": everything, "sister": everything}
    assert report["readable"]["StationA"] == {"single": everything, "sister": {"money": 0, "energy": 26}}


def test_each_transfer_is_proven_at_the_sixth_confirmation(outcome: Experiment1) -> None:
    assert [(crossing.side, crossing.latency) for crossing in outcome.crossings] == [
        (Side.TRANSACTION, 6),
        (Side.SCHEDULE, 6),
        (Side.SCHEDULE, 6),
    ]
    assert all(crossing.gas_used > 100_000 for crossing in outcome.crossings)
    assert [status.state for status in outcome.transfers] == ["final"] * 3


def test_progress_is_told_as_it_happens(outcome: Experiment1, events: list[Event]) -> None:
    crossing = [str(event) for event in events if event.stage in (Stage.CONFIRMATION, Stage.DELIVERED)]

    assert crossing[:6] == [f"Client1 buys 73 rights: {depth} of 6 confirmations" for depth in range(1, 7)]
    assert crossing[6].startswith("Client1 buys 73 rights: proven at transaction block ")
    assert [event for event in events if not event.ok] == []
    assert sum(event.stage is Stage.OBSERVED for event in events) == len(outcome.observations)


def test_one_wrong_figure_fails_the_experiment(outcome: Experiment1) -> None:
    wrong = Observation("at last: Client1 on the transaction chain", "947", "946", False)

    spoilt = replace(outcome, observations=[*outcome.observations, wrong])

    assert outcome.ok
    assert not spoilt.ok
    assert spoilt.to_json()["ok"] is False


# What goes wrong (on a short cut through the experiment, without 1b)


@pytest.fixture
def short(outcome: Experiment1, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Experiment1]:
    """The experiment with the comparison of the run above."""
    monkeypatch.setattr(single_chain, "run", lambda kind, tell: outcome.single_chain)
    return run


def test_a_seen_address_fails_the_experiment(short: Callable[[], Experiment1], monkeypatch: pytest.MonkeyPatch) -> None:
    search = audit.sightings

    def planted(shown: Any, needles: Any, block: int) -> list[audit.Sighting]:
        return search([*shown, bytes.fromhex(next(iter(needles))[2:])] if block == 3 else shown, needles, block)

    monkeypatch.setattr(audit, "sightings", planted)

    outcome = short()

    assert not outcome.ok
    assert [observation.step for observation in outcome.observations if not observation.ok] == [
        "addresses of the schedule chain on the transaction chain",
        "addresses of the transaction chain on the schedule chain",
    ]


def test_a_relayer_that_does_not_deliver_is_an_error(
    short: Callable[[], Experiment1], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("energyshare.bridge.relayer.Relayer.step", lambda relayer: None)

    with pytest.raises(ChainError, match="did not deliver transfer 1 of the transaction chain"):
        short()
