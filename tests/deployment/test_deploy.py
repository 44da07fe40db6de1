"""A deployment conserves value from its first block on, and keeps every role apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from energyshare.amount import BASE_UNITS
from energyshare.bridge.lock_end import RouteState
from energyshare.chain import devnet
from energyshare.chain.connection import Chain
from energyshare.chain.keys import Keyring
from energyshare.deployment.actors import Actors
from energyshare.deployment.deploy import COMPANY_ROLE, Terms, deploy
from energyshare.errors import ChainError, EnergyShareError, TransactionReverted
from energyshare.network import Network
from energyshare.side import Side

T, S = Side.TRANSACTION, Side.SCHEDULE
TERMS = Terms(
    token_lot=2,
    rights_lot=3,
    confirmations=4,
    sealers=3,
    rule_delay_s=3_600,
    rights_supply=9_000 * BASE_UNITS,
    tokens={"EC": 500 * BASE_UNITS, "Client1": 100 * BASE_UNITS, "Client2": 7},
    rights={"EC": 900 * BASE_UNITS, "StationA": 30 * BASE_UNITS},
    others=("Client9",),
)


@pytest.fixture(scope="module")
def actors() -> Actors:
    return Actors(Keyring())


@pytest.fixture(scope="module")
def chains(actors: Actors) -> Iterator[dict[Side, Chain]]:
    started = {
        side: devnet.start(
            "py-evm",
            side.value,
            31_337 + side.branch,
            dict.fromkeys(actors.everyone(TERMS.parties, side), 10**24),
        )
        for side in Side
    }
    yield started
    for chain in started.values():
        chain.close()


@pytest.fixture(scope="module")
def network(chains: dict[Side, Chain], actors: Actors) -> Network:
    return Network(deploy(chains, actors, TERMS), chains, actors)


def _state(network: Network, side: Side) -> RouteState:
    return network.ends[side].route_state(network.route(side))


def test_parties_start_with_what_the_terms_say(network: Network) -> None:
    for name in TERMS.parties:
        assert network.balance(T, name) == TERMS.tokens.get(name, 0)
        assert network.balance(S, name) == TERMS.rights.get(name, 0)


def test_rights_in_circulation_are_backed_by_locked_tokens(network: Network) -> None:
    circulating = 930 * BASE_UNITS
    tokens, rights = _state(network, T), _state(network, S)

    assert tokens.pool * TERMS.rights_lot == circulating
    assert rights.pool * TERMS.rights_lot == TERMS.rights_supply - circulating
    for side, state, lot in ((T, tokens, 2), (S, rights, 3)):
        lock, asset = network.ends[side].contract, network.asset(side)
        boxed = sum(
            network.chains[side].call(asset.functions.balanceOf(network.chains[side].call(lock.functions.boxAt(index))))
            for index in range(16)
        )
        assert boxed == state.pool * lot
    total = network.chains[T].call(network.asset(T).functions.totalSupply())
    assert total == sum(TERMS.tokens.values()) + tokens.pool * 2
    assert network.chains[S].call(network.asset(S).functions.totalSupply()) == TERMS.rights_supply


def test_both_ends_agree_on_the_route(network: Network) -> None:
    tokens, rights = _state(network, T), _state(network, S)

    assert (tokens.lot, tokens.peer_lot, rights.lot, rights.peer_lot) == (2, 3, 3, 2)
    assert (tokens.peer, rights.peer) == (network.ends[S].address, network.ends[T].address)
    assert (tokens.outbox, tokens.inbox) == (rights.inbox, rights.outbox)
    assert tokens.confirmations == rights.confirmations == 4


def test_each_light_client_trusts_the_sealers_of_the_other_chain(network: Network, actors: Actors) -> None:
    for side in Side:
        light_client = network.chains[side].contract("QuorumLightClient", network.record.chains[side].light_client)
        assert network.chains[side].call(light_client.functions.sealers()) == [
            sealer.address for sealer in actors.sealers(side.other, 3)
        ]
        assert (
            network.chains[side].call(light_client.functions.SOURCE_CHAIN_ID()) == network.chains[side.other].chain_id
        )


def test_only_the_company_issues_tokens_and_nobody_issues_rights(network: Network, actors: Actors) -> None:
    token = network.asset(T)
    for account in (actors.operator(T), actors.relayer(T), actors.account("Client1", T)):
        with pytest.raises(TransactionReverted) as caught:
            network.chains[T].simulate(token.functions.issue(account.address, 1, bytes(32)), account)
        assert caught.value.name == "AccessManagedUnauthorized"
    network.chains[T].simulate(
        token.functions.issue(actors.account("EC", T).address, 1, bytes(32)), actors.account("EC", T)
    )
    assert not any(
        item["name"] in ("issue", "mint", "burn", "redeem")
        for item in network.asset(S).abi
        if item["type"] == "function"
    )


def test_the_operator_is_bound_by_the_delay_from_the_start(network: Network, actors: Actors) -> None:
    for side in Side:
        chain = network.chains[side]
        manager = chain.contract("NetworkManager", network.record.chains[side].manager)
        operator = actors.operator(side).address
        assert chain.call(manager.functions.hasRole(0, operator)) == [True, TERMS.rule_delay_s]
        call = network.ends[side].contract.functions.addRoute(
            (1, b"\1" * 32, operator), (network.record.chains[side].light_client, 6, 1, 1), 0
        )
        with pytest.raises(TransactionReverted) as caught:
            chain.simulate(call, actors.operator(side))
        assert caught.value.name == "AccessManagerNotScheduled"
    manager = network.chains[T].contract("NetworkManager", network.record.chains[T].manager)
    company = actors.account("EC", T).address
    assert network.chains[T].call(manager.functions.hasRole(COMPANY_ROLE, company)) == [True, 0]
    assert network.chains[T].call(manager.functions.hasRole(0, company))[0] is False


def test_the_deployer_keeps_nothing(network: Network, actors: Actors) -> None:
    for side in Side:
        held = network.chains[side].call(network.asset(side).functions.balanceOf(actors.operator(side).address))
        assert held == 0


def test_a_network_refuses_chains_that_started_anew(network: Network, actors: Actors) -> None:
    with (
        devnet.start("py-evm", "schedule", network.chains[S].chain_id) as restarted,
        pytest.raises(ChainError, match="deploy again"),
    ):
        Network(network.record, {T: network.chains[T], S: restarted}, actors)


def test_one_chain_may_serve_as_both(actors: Actors) -> None:
    """The single-chain baseline of experiment 1b."""
    terms = Terms()
    funded = {address for side in Side for address in actors.everyone(terms.parties, side)}
    with devnet.start("py-evm", "single", 31_337, dict.fromkeys(funded, 10**24)) as chain:
        record = deploy({T: chain, S: chain}, actors, terms)
        network = Network(record, {T: chain, S: chain}, actors)

        assert record.chains[T].lock != record.chains[S].lock
        assert network.balance(T, "Client1") == 1_000 * BASE_UNITS
        assert _state(network, T).outbox == _state(network, S).inbox


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rights": {"EC": 10_000 * BASE_UNITS}}, "exceed the supply"),
        ({"rights": {"EC": 1}}, "multiples of the lot"),
        ({"rights_supply": 9_000_001}, "multiples of the lot"),
        ({"token_lot": 0}, "at least 1"),
        ({"rights_lot": -1}, "at least 1"),
        ({"sealers": 0}, "from 1 to 255"),
        ({"sealers": 256}, "from 1 to 255"),
        ({"rule_delay_s": 0}, "after a delay"),
    ],
)
def test_terms_that_contradict_themselves_are_refused(change: dict[str, object], reason: str) -> None:
    with pytest.raises(EnergyShareError, match=reason):
        replace(TERMS, **change).check()  # type: ignore[arg-type]


def test_lots_with_a_common_factor_are_refused_by_the_lock(chains: dict[Side, Chain], actors: Actors) -> None:
    terms = replace(TERMS, token_lot=2, rights_lot=2, rights={"EC": 2})

    with pytest.raises((TransactionReverted, EnergyShareError), match=r"InvalidLots|factor"):
        deploy(chains, actors, terms)
