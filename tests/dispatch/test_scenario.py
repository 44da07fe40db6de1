"""Scenario files: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from energyshare.dispatch.errors import AlreadyConnected, FlagContradicted, NotConnected
from energyshare.dispatch.scenario import Outcome, ScenarioError, parse, read, reference_for, run

STATION = {
    "id": "a",
    "capacity": 40,
    "stored": 20,
    "connected_supply": 0,
    "connected_acquire": 0,
    "can_supply": True,
    "can_acquire": True,
}


def scenario(*events: dict[str, Any], users: str = "12", **station: Any) -> dict[str, Any]:
    """One station with a line to each user."""
    return {
        "k": 10,
        "reserve_per_user": 2,
        "stations": [STATION | station],
        "lines": [{"user": user, "station": "a", "loss_bp": 1_500} for user in users],
        "events": list(events),
    }


def ran(made: dict[str, Any]) -> Outcome:
    parsed = parse(json.dumps(made))
    return run(parsed, reference_for(parsed))


def event(type: str, user: str = "1", **fields: Any) -> dict[str, Any]:
    return {"type": type, "user": user, **fields}


def test_the_designs_example_runs() -> None:
    made = {
        "k": 10,
        "reserve_per_user": 2,
        "stations": [STATION | {"stored": 5, "can_supply": False}],
        "lines": [{"user": "1", "station": "a", "loss_bp": 1_500}],
        "events": [
            {"type": "supply", "user": "1", "units": 20},
            {"type": "acquire", "user": "3", "units": 13},
            {"type": "report", "station": "a", "stored": 12, "can_supply": True},
        ],
    }

    assert ran(made).to_json() == {
        "assignments": [],
        "transfers": [],
        "unserved": {"1": 20, "3": 13},
        "stations": {
            "a": {
                "stored": 12,
                "can_supply": True,
                "can_acquire": True,
                "connected_supply": 0,
                "connected_acquire": 0,
            }
        },
    }


def test_the_report_names_every_connection_and_every_unit() -> None:
    made = ran(scenario(event("supply", units=12), event("acquire", "2", units=1))).to_json()

    supply = {"user": "1", "side": "supply", "station": "a"}
    acquire = {"user": "2", "side": "acquire", "station": "a"}
    assert made["assignments"] == [supply, supply, acquire]
    assert made["transfers"] == [supply | {"units": 1}] * 12 + [acquire | {"units": 1}]
    assert made["unserved"] == {"1": 0, "2": 0}
    assert made["stations"]["a"]["stored"] == 9  # type: ignore[index]


def test_unserved_units_add_up_over_a_users_events() -> None:
    made = ran(
        scenario(
            event("supply", units=20),
            event("supply", units=3),
            event("acquire", units=5),
            event("connect", "2", side="supply"),
        )
    )

    assert made.unserved == {"1": 2 + 3 + 0, "2": 1}
    assert len(made.transfers) == 18 + 5


def test_interleaved_users_share_a_station() -> None:
    made = ran(
        scenario(
            event("connect", "1", side="supply"),
            event("connect", "2", side="supply"),
            event("draw", "1", side="supply", units=5),
            event("draw", "2", side="supply", units=2),
            event("close", "1", side="supply"),
        )
    )

    assert [unit.user for unit in made.transfers] == ["1", "2", *"11111", *"22"]
    assert made.stations["a"].connected_supply == 1
    assert made.unserved == {"1": 0, "2": 0}


def test_users_cut_off_by_others_are_unserved_and_may_close_and_come_again() -> None:
    made = ran(
        scenario(
            event("connect", "1", side="supply"),
            event("connect", "2", side="supply"),
            event("draw", "2", side="supply", units=4),
            event("draw", "1", side="supply", units=5),
            event("close", "1", side="supply"),
            event("close", "1", side="supply"),
            {"type": "report", "station": "a", "stored": 30, "can_supply": True},
            event("connect", "1", side="supply"),
            stored=8,
        )
    )

    assert made.unserved == {"2": 2, "1": 5}  # 6 left after both came, 4 is the reserve of two
    assert made.stations["a"].stored == 29_000
    assert made.stations["a"].connected_supply == 1


def test_a_draw_beyond_k_leaves_the_rest_unserved() -> None:
    made = ran(scenario(event("connect", side="supply"), event("draw", side="supply", units=12)))

    assert (len(made.transfers), made.unserved) == (10, {"1": 3})


def test_those_connected_from_the_start_count_until_all_are_disconnected() -> None:
    kept = ran(scenario(event("supply", units=1), stored=8, connected_supply=2))
    cut = ran(scenario(event("supply", units=5), stored=8, connected_supply=2))

    assert (kept.stations["a"].connected_supply, kept.stations["a"].can_supply) == (2, True)
    assert (cut.stations["a"].connected_supply, cut.stations["a"].can_supply) == (0, False)
    assert (cut.stations["a"].stored, cut.unserved) == (6_000, {"1": 3})


def test_a_contradicted_report_ends_the_run() -> None:
    report = {"type": "report", "station": "a", "stored": 4, "can_supply": True}

    with pytest.raises(FlagContradicted):
        ran(scenario(report, connected_supply=2))


@pytest.mark.parametrize("type", ["draw", "close"])
def test_a_connection_that_never_was_ends_the_run(type: str) -> None:
    fields = {"units": 1} if type == "draw" else {}

    with pytest.raises(NotConnected):
        ran(scenario(event("connect", "2", side="supply"), event(type, "1", side="supply", **fields)))


@pytest.mark.parametrize("second", [event("connect", side="supply"), event("supply", units=1)])
def test_connecting_twice_ends_the_run(second: dict[str, Any]) -> None:
    with pytest.raises(AlreadyConnected):
        ran(scenario(event("connect", side="supply"), second))


def test_parameters_and_users_already_there_may_be_left_out() -> None:
    station = {key: value for key, value in STATION.items() if not key.startswith("connected")}

    parsed = parse(json.dumps({"stations": [station]}))

    assert (parsed.k, parsed.reserve_per_user, parsed.lines, parsed.events) == (10, 2, (), ())
    assert parsed == parse(json.dumps({"k": 10, "reserve_per_user": 2, "stations": [STATION]}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"k": 0}, "k: Input should be greater than or equal to 1"),
        ({"k": True}, "k: .* write a whole number"),
        ({"k": "10"}, "k: .* write a whole number"),
        ({"reserve_per_user": -1}, "reserve_per_user: .* greater than or equal to 0"),
        ({"reserve_per_user": 1.5}, "reserve_per_user: .* write a whole number"),
        ({"period": 3}, "period: .* leave it out or correct its name"),
        ({"stations": [STATION, STATION]}, "station a is there twice"),
        ({"stations": [STATION | {"stored": 41}]}, "stores 41 units, more than its capacity of 40"),
        ({"stations": [STATION | {"stored": -1}]}, r"stations\.0\.stored"),
        ({"stations": [STATION | {"can_supply": 1}]}, r"stations\.0\.can_supply"),
        ({"stations": [STATION | {"id": 7}]}, r"stations\.0\.id"),
        ({"stations": [STATION | {"id": ""}]}, r"stations\.0\.id"),
        ({"stations": [{"id": "a"}]}, r"stations\.0\.capacity: Field required; add it"),
        ({"stations": {}}, "stations: "),
        ({"lines": [{"user": "1", "station": "z", "loss_bp": 1}]}, "there is no station z"),
        ({"lines": [{"user": "1", "station": "a", "loss_bp": 1}] * 2}, "from user 1 to station a is there twice"),
        ({"lines": [{"user": "1", "station": "a", "loss_bp": 10_001}]}, r"lines\.0\.loss_bp"),
        ({"events": [{"type": "report", "station": "z"}]}, "there is no station z"),
        ({"events": [{"type": "steal", "user": "1"}]}, "'steal' .* correct the type of the event"),
        ({"events": [{"user": "1"}]}, r"events\.0"),
        ({"events": [{"type": "supply", "user": "1"}]}, r"events\.0\.supply\.units: Field required; add it"),
        ({"events": [{"type": "supply", "user": "1", "units": 1.0}]}, r"events\.0\.supply\.units"),
        ({"events": [{"type": "connect", "user": "1", "side": "sideways"}]}, r"events\.0\.connect\.side"),
        ({"events": [{"type": "report", "station": "a", "capacity": 3}]}, r"events\.0\.report\.capacity"),
    ],
)
def test_what_contradicts_itself_is_told_in_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError, match=said) as refused:
        parse(json.dumps(scenario() | change))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[", "nul", '{"k": 1, "k": 2}', "[" * 100_000, "[]", "null", "3", '"x"'])
def test_what_is_no_scenario_is_told_in_one_line(text: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        parse(text)
    assert "\n" not in str(refused.value)


def test_a_file_is_named_in_what_is_said_of_it(tmp_path: Path) -> None:
    path = tmp_path / "scenario.json"
    with pytest.raises(ScenarioError, match=f"cannot read {path}: No such file"):
        read(path)

    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ScenarioError, match=f"{path} is not UTF-8"):
        read(path)

    path.write_text('{"stations": 3}')
    with pytest.raises(ScenarioError, match=f"{path}: stations"):
        read(path)

    path.write_text(json.dumps(scenario()))
    assert read(path) == parse(path.read_text())
