"""Who would serve a user, and why the others would not: as the chain itself would decide."""

from __future__ import annotations

import random

import pytest

from energyshare.dispatch.rules import Service
from energyshare.errors import ChainError, TransactionReverted
from energyshare.ledger.qualification import Qualification, Verdict, qualification, readiness
from tests.bridge.world import S
from tests.ledger.town import ACQUIRE, SUPPLY, TERMS, Town, act_at_random


def of(town: Town, user: str, service: Service) -> Qualification:
    (one,) = [one for one in qualification(town.world.network, user) if one.service is service]
    return one


def verdicts(one: Qualification) -> dict[str, Verdict]:
    return {candidate.station: candidate.verdict for candidate in one.candidates}


def test_figures_14_to_16_station_b_holds_20_and_serves_2(town: Town) -> None:
    one = of(town, "Client1", SUPPLY)

    shown = one.to_json()
    assert (shown["station"], shown["stored"], shown["connected"]) == ("StationB", "20", 2)
    assert one.assigned is not None
    assert (one.assigned.check.required_by_paper, one.assigned.check.required) == (4_000, 6_000)
    assert verdicts(one) == {"StationB": Verdict.ASSIGNED, "StationA": Verdict.NO_FLAG}
    assert one.obstacle is None


def test_figures_19_to_21_station_a_has_room_for_15(town: Town) -> None:
    one = of(town, "Client3", ACQUIRE)

    assert one.assigned is not None
    assert (one.assigned.station, one.assigned.stored, one.assigned.check.connected) == ("StationA", 5_000, 0)
    assert one.assigned.check.level == 15_000
    assert verdicts(one) == {"StationA": Verdict.ASSIGNED, "StationC": Verdict.RIGHTS}


def test_the_verdict_is_the_chains_own_after_random_traffic(town: Town) -> None:
    seed = 7
    chance = random.Random(seed)
    seen: set[Verdict] = set()
    for _ in range(15):
        for _ in range(3):
            try:
                act_at_random(town, chance)
            except TransactionReverted:
                continue
        for user in TERMS.lines:
            for one in qualification(town.world.network, user):
                seen |= set(verdicts(one).values())
                assigned = town.schedule.assigned(town.address(user), one.service)
                named = None if one.assigned is None else town.id(one.assigned.station)
                assert named == assigned, f"seed {seed}"
    assert len(seen) >= 4


@pytest.mark.parametrize(
    ("user", "obstacle"),
    [
        ("Client3", "Client3 has no right to pay with: buy rights"),
        ("EC", "EC has no line to any station: the company draws them"),
    ],
)
def test_who_cannot_buy_is_told_why(town: Town, user: str, obstacle: str) -> None:
    assert of(town, user, SUPPLY).obstacle == obstacle


def test_a_user_whose_rights_may_not_be_taken_is_told_to_approve(town: Town) -> None:
    town.schedule.approve(town.key("Client1"), 500)

    assert of(town, "Client1", SUPPLY).obstacle == "the settlement may take 0.5 of Client1's rights: approve it"


def test_a_user_who_is_connected_or_is_owed_draws_or_waits(town: Town) -> None:
    town.connect("Client1", SUPPLY)
    assert of(town, "Client1", SUPPLY).obstacle == "connected to StationB: draw on that connection, or close it"

    town.schedule.apply(town.key("Client3"), ACQUIRE, 3, 0)
    assert of(town, "Client3", ACQUIRE).obstacle == "3 units sold wait to be accepted: wait, or close the connection"


def test_a_station_at_its_reserve_fails_its_own_check(town: Town) -> None:
    """6 is above the 4 of those connected, so the flag may rise, and not above the 6 that a newcomer makes of it."""
    town.report("StationB", stored=6_000, supply=True)

    one = of(town, "Client1", SUPPLY)
    assert verdicts(one)["StationB"] is Verdict.LEVEL
    assert one.obstacle == "no station is available: wait for a report"


def test_a_station_says_whether_it_takes_one_more_user(town: Town) -> None:
    supply, acquire = readiness(town.world.network, "StationC")

    assert supply.refusal is None
    assert (acquire.refusal, acquire.rights) == (Verdict.RIGHTS, 0)


def test_a_station_that_is_not_registered_is_none(town: Town) -> None:
    town.world.send(S, town.schedule.dispatch.functions.setStationKey(3, town.address("Client3")), "EC")

    with pytest.raises(ChainError, match="StationC is registered as no station"):
        readiness(town.world.network, "StationC")
