"""Changes of a rule: never at once, always announced, with an event."""

from __future__ import annotations

from typing import Any

import ape
import pytest
from ape.managers.chain import ChainManager
from ape.managers.project import ProjectManager

from tests.ape.net import RULE_DELAY_S, Net


@pytest.fixture(params=["setConfirmations", "setSealers", "setLightClient", "setMarket"])
def change(request: pytest.FixtureRequest, net: Net, project: ProjectManager) -> tuple[Any, str, tuple[Any, ...], Any]:
    """A contract, one of its rules, what it is to become, and the event that says so."""
    match request.param:
        case "setConfirmations":
            return net.lock, request.param, (net.route, 12), net.lock.ConfirmationsChanged(net.route, 6, 12)
        case "setSealers":
            fewer = [key.address for key in net.sealers[:3]]
            return net.light_client, request.param, (fewer,), net.light_client.SealersChanged(fewer, 2)
        case "setLightClient":
            other = net.operator.deploy(project.QuorumLightClient, net.manager, 1, bytes(32), [net.sealers[0].address])
            event = net.lock.LightClientChanged(net.route, net.light_client, other)
            return net.lock, request.param, (net.route, other), event
        case _:
            other = net.operator.deploy(project.EnergyMarket, net.lock)
            return net.lock, request.param, (other,), net.lock.MarketChanged(net.market, other)


def test_rule_changes_only_after_its_delay_and_with_an_event(
    net: Net, chain: ChainManager, change: tuple[Any, str, tuple[Any, ...], Any]
) -> None:
    contract, rule, arguments, event = change

    with ape.reverts(net.manager.AccessManagerNotScheduled):
        getattr(contract, rule)(*arguments, sender=net.operator)

    net.schedule(contract, rule, *arguments)
    with ape.reverts(net.manager.AccessManagerNotReady):
        getattr(contract, rule)(*arguments, sender=net.operator)

    chain.pending_timestamp += RULE_DELAY_S + 1
    receipt = getattr(contract, rule)(*arguments, sender=net.operator)

    assert event in receipt.events


def test_rule_cannot_be_changed_by_a_stranger(net: Net, change: tuple[Any, str, tuple[Any, ...], Any]) -> None:
    contract, rule, arguments, _ = change

    with ape.reverts(contract.AccessManagedUnauthorized, error_inputs={"caller": net.stranger.address}):
        getattr(contract, rule)(*arguments, sender=net.stranger)


def test_role_without_a_delay_cannot_change_a_rule(net: Net, project: ProjectManager) -> None:
    manager = net.operator.deploy(project.NetworkManager, net.operator)
    client = net.operator.deploy(project.QuorumLightClient, manager, 1, bytes(32), [net.sealers[0].address])
    other = [net.sealers[1].address]

    with ape.reverts(client.DelayRequired, error_inputs={"caller": net.operator.address}):
        client.setSealers(other, sender=net.operator)
    with ape.reverts(client.DelayRequired, error_inputs={"caller": manager.address}):
        manager.execute(client, client.setSealers.encode_input(other), sender=net.operator)

    assert client.sealers() == [net.sealers[0].address]


def test_manager_of_a_lock_is_fixed(net: Net) -> None:
    for contract in (net.lock, net.light_client):
        assert contract.authority() == net.manager
        with ape.reverts(contract.AuthorityIsFixed):
            contract.setAuthority(net.stranger, sender=net.operator)


def test_a_route_that_is_not_frozen_cannot_be_unfrozen(net: Net, chain: ChainManager) -> None:
    net.schedule(net.lock, "unfreeze", net.route)
    chain.pending_timestamp += RULE_DELAY_S + 1

    with ape.reverts(net.lock.RouteIsNotFrozen):
        net.lock.unfreeze(net.route, sender=net.operator)
