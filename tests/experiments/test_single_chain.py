from __future__ import annotations

from collections import Counter

from energyshare.chain.keys import Keyring
from energyshare.deployment.actors import Actors
from energyshare.experiments.single_chain import (
    TERMS,
    TRAFFIC,
    SingleChainActors,
    readable,
)
from energyshare.ledger.records import Record, RecordKind
from energyshare.side import Side

T, S = Side


def test_traffic_is_that_of_figure_13_with_energy_in_between() -> None:
    money = [(act.kind, act.name, act.amount) for act in TRAFFIC if act.kind != "payment"]
    energy = Counter((act.name, act.recipient) for act in TRAFFIC if act.kind == "payment")

    assert len(money) == 18
    assert money[:3] == [
        ("purchase", "Client1", 73),
        ("conversion", "Client1", 20),
        ("conversion", "EC", 300),
    ]
    assert sum(amount for kind, _, amount in money if kind == "purchase") == 73 + 65 + 20 + 350 + 50
    assert sum(amount for _, name, amount in money if name == "EC") == 1_250
    assert energy == {("Client1", "StationA"): 5, ("StationA", "Client2"): 3}
    assert {act.amount for act in TRAFFIC if act.kind == "payment"} == {1}


def test_a_party_has_one_address_on_a_single_chain_and_two_on_sister_chains() -> None:
    for name in TERMS.parties:
        single, sister = SingleChainActors(Keyring()).party(name), Actors(Keyring()).party(name)
        assert len(set(single.addresses.values())) == 1
        assert len(set(sister.addresses.values())) == len(sister.addresses)


def test_no_key_has_two_roles_on_a_single_chain() -> None:
    actors = SingleChainActors(Keyring())
    keys = [
        actors.operator(T).address,
        actors.relayer(T).address,
        *(sealer.address for sealer in actors.sealers(T, 4)),
        *(actors.account(name, S).address for name in TERMS.parties),
    ]

    assert len(set(keys)) == len(keys)


def test_readable_is_all_of_each_chain_that_a_party_lives_on() -> None:
    actors = Actors(Keyring())
    made = {side: [Record("a", "b", 1, 1, side, RecordKind.PAYMENT)] * (2 + side.branch) for side in Side}

    found = readable([actors.party("EC"), actors.party("StationA")], made, made)

    assert found["EC"].to_json() == {
        "single": {"money": 2, "energy": 3},
        "sister": {"money": 2, "energy": 3},
    }
    assert found["StationA"].to_json() == {
        "single": {"money": 2, "energy": 3},
        "sister": {"money": 0, "energy": 3},
    }
