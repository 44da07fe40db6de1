from __future__ import annotations

from eth_account import Account

from energyshare.ledger.records import Record, RecordKind, involving, records
from energyshare.side import Side
from tests.bridge.world import S, T, World
from tests.ledger.scenes import NOBODY, buy, claim, experiment_1, late_alias, register_late
from tests.ledger.town import ACQUIRE, SUPPLY, TERMS, Town


def shown(world: World, side: Side) -> list[tuple[str, str, int, RecordKind]]:
    made = records(world.network, side)
    assert all(record.side is side for record in made)
    assert [record.block for record in made] == sorted(record.block for record in made)
    return [(record.sender, record.recipient, record.token, record.kind) for record in made]


def test_a_new_network_has_no_records(world: World) -> None:
    assert shown(world, T) == shown(world, S) == []


def test_experiment_1_leaves_the_records_of_figures_11_and_12(world: World) -> None:
    experiment_1(world)

    assert shown(world, T) == [
        ("Client1", "EC", 73_000, RecordKind.PURCHASE),
        ("Client1", "Client1", 20_000, RecordKind.CONVERSION),
        ("EC", "EC", 300_000, RecordKind.CONVERSION),
    ]
    assert shown(world, S) == [
        ("EC", "Client1", 73_000, RecordKind.PURCHASE),
        ("Client1", "Client1", 20_000, RecordKind.CONVERSION),
        ("EC", "EC", 300_000, RecordKind.CONVERSION),
    ]


def test_a_purchase_is_recorded_where_it_is_paid_before_the_rights_are_released(world: World) -> None:
    buy(world, "Client1", 73_000)

    (record,) = records(world.network, T)

    assert record.to_json() == {
        "from": "Client1",
        "to": "EC",
        "token": "73",
        "block": world.chain(T).height(),
    }
    assert shown(world, S) == []


def test_a_conversion_of_tokens_is_recorded_once_on_each_chain(world: World) -> None:
    world.lock(T, "Client1", 5_500)
    world.carry(T)

    expected = [("Client1", "Client1", 5_500, RecordKind.CONVERSION)]
    assert shown(world, T) == shown(world, S) == expected


def test_each_chain_records_a_conversion_in_its_own_units(scarce_world: World) -> None:
    scarce_world.lock(S, "Client1", 9_000)
    scarce_world.carry(S)

    assert shown(scarce_world, S) == [("Client1", "Client1", 9_000, RecordKind.CONVERSION)]
    assert shown(scarce_world, T) == [("Client1", "Client1", 6_000, RecordKind.CONVERSION)]


def test_a_bounced_purchase_comes_back_from_the_company(world: World) -> None:
    buy(world, "Client1", 73_000, recipient=NOBODY)
    world.carry(T)
    world.carry(S)

    assert shown(world, T) == [
        ("Client1", "EC", 73_000, RecordKind.PURCHASE),
        ("EC", "Client1", 73_000, RecordKind.REFUND),
    ]
    assert shown(world, S) == []


def test_a_bounced_conversion_comes_back_from_its_owner(world: World) -> None:
    world.lock(T, "Client1", 8_000, recipient=NOBODY)
    world.carry(T)
    world.carry(S)

    assert shown(world, T) == [
        ("Client1", "Client1", 8_000, RecordKind.CONVERSION),
        ("Client1", "Client1", 8_000, RecordKind.REFUND),
    ]
    assert shown(world, S) == []


def test_what_waits_is_recorded_once_it_is_claimed(world: World) -> None:
    buy(world, "Client1", 73_000, recipient=NOBODY, refund=late_alias(world, T, "Client1"))
    world.lock(T, "EC", 4_000, recipient=NOBODY, refund=late_alias(world, T, "EC"))
    world.carry(T)
    world.carry(S)
    before = shown(world, T)

    for name in ("Client1", "EC"):
        register_late(world, T, name)
        claim(world, T, late_alias(world, T, name))

    assert [kind for *_, kind in before] == [RecordKind.PURCHASE, RecordKind.CONVERSION]
    assert shown(world, T)[2:] == [
        ("EC", "Client1", 73_000, RecordKind.REFUND),
        ("EC", "EC", 4_000, RecordKind.REFUND),
    ]


def test_payments_are_recorded_and_deposits_are_not(world: World) -> None:
    rights = world.network.asset(S)
    stranger = Account.from_key(b"\x07" * 32).address
    client = world.actors.account("Client1", S).address
    world.send(S, rights.functions.transfer(client, 2_000), "EC")
    world.send(S, rights.functions.transfer(stranger, 1_000), "Client1")
    world.send(S, rights.functions.transfer(world.boxes(S)[3], 500), "EC")
    world.send(T, world.network.asset(T).functions.issue(client, 9_000, bytes(32)), "EC")

    assert shown(world, S) == [
        ("EC", "Client1", 2_000, RecordKind.PAYMENT),
        ("Client1", stranger, 1_000, RecordKind.PAYMENT),
    ]
    assert shown(world, T) == []


def test_records_can_be_read_as_of_a_block(world: World) -> None:
    buy(world, "Client1", 1_000)
    block = world.chain(T).height()
    buy(world, "Client1", 2_000)

    found = records(world.network, T, block)

    assert found == [Record("Client1", "EC", 1_000, block, T, RecordKind.PURCHASE)]


def test_energy_leaves_a_record_a_unit_as_in_figure_23(town: Town) -> None:
    town.apply("Client1", SUPPLY, 14)
    town.apply("Client1", SUPPLY, 10)
    for units in (10, 3):
        town.apply("Client3", ACQUIRE, units)

    made = shown(town.world, S)

    assert made == [
        *[("Client1", "StationB", 1_000, RecordKind.ENERGY)] * 14,
        *[("StationA", "Client3", 1_000, RecordKind.ENERGY)] * 13,
    ]
    assert shown(town.world, T) == []


def test_floats_and_settled_periods_of_stations_are_recorded_once(town: Town) -> None:
    town.apply("Client1", SUPPLY, 3)
    town.settle("StationB")
    town.schedule.approve(town.key("Client1"), 5_000)
    town.schedule.fund(town.key("Client1"), 1, 5_000)

    assert shown(town.world, S)[3:] == [
        ("StationB", "EC", 53_000, RecordKind.SETTLEMENT),
        ("EC", "StationB", 50_000, RecordKind.FLOAT),
        ("Client1", "StationA", 5_000, RecordKind.FLOAT),
    ]


def test_records_can_be_narrowed_to_parties_and_to_the_latest(town: Town) -> None:
    town.apply("Client1", SUPPLY, 3)
    town.apply("Client2", SUPPLY, 2)
    town.settle("StationB")
    made = records(town.world.network, S)

    assert involving(made, []) == made
    assert [record.token for record in involving(made, ["StationB"], 2)] == [53_000, 50_000]
    assert len(involving(made, ["Client1", "StationB"])) == 3
    assert involving(made, ["Client2", "StationB"]) == []


def test_a_station_without_a_party_is_recorded_by_its_number(town: Town) -> None:
    town.schedule.register(town.key("EC"), Account.create().address, TERMS.stations[2].state)
    town.schedule.approve(town.key("Client1"), 1_000)
    town.schedule.fund(town.key("Client1"), 4, 1_000)

    assert shown(town.world, S) == [("Client1", "station 4", 1_000, RecordKind.FLOAT)]
