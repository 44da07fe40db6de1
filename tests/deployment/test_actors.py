"""Whose key is whose: none has two roles, and none serves two chains."""

from __future__ import annotations

import pytest

from energyshare.chain.keys import Keyring
from energyshare.deployment.actors import Actors, PartyKind, UnknownParty
from energyshare.side import Side


@pytest.fixture(scope="module")
def actors() -> Actors:
    return Actors(Keyring())


def test_no_address_has_two_roles_or_serves_two_chains(actors: Actors) -> None:
    names = ["EC", *(f"Client{number}" for number in range(1, 11)), "StationA", "StationZ"]
    addresses = [
        account.address
        for side in Side
        for account in (
            actors.operator(side),
            actors.relayer(side),
            *actors.sealers(side, 7),
            *(actors.account(name, side) for name in names),
        )
    ]

    assert len(set(addresses)) == len(addresses)


def test_sealers_come_in_ascending_order(actors: Actors) -> None:
    for side in Side:
        numbers = [int(sealer.address, 16) for sealer in actors.sealers(side, 7)]
        assert numbers == sorted(numbers)


def test_a_station_lives_on_the_scheduling_chain_alone(actors: Actors) -> None:
    station, user = actors.party("StationA"), actors.party("Client1")

    assert (station.kind, list(station.addresses)) == (PartyKind.STATION, [Side.SCHEDULE])
    assert (user.kind, set(user.addresses)) == (PartyKind.USER, set(Side))
    assert station.addresses[Side.SCHEDULE] not in actors.everyone(["StationA"], Side.TRANSACTION)


@pytest.mark.parametrize(
    "name", ["", "Client0", "Client", "Client01", "client1", "StationAA", "Station0", "Bob", "EC "]
)
def test_an_unknown_party_is_named(actors: Actors, name: str) -> None:
    with pytest.raises(UnknownParty):
        actors.account(name, Side.TRANSACTION)


def test_another_mnemonic_makes_other_keys(actors: Actors) -> None:
    other = Actors(Keyring("legal winner thank year wave sausage worth useful legal winner thank yellow"))

    assert other.operator(Side.TRANSACTION).address != actors.operator(Side.TRANSACTION).address
