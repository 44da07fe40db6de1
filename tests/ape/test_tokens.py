"""Money and rights: who may make them, and how many there are."""

from __future__ import annotations

import ape
import pytest
from ape.managers.project import ProjectManager

from tests.ape.net import ALLOTMENT, Net

REFERENCE = b"invoice 7".ljust(32, b"\0")


def test_company_issues_tokens_with_an_event(net: Net) -> None:
    supply = net.tokens.totalSupply()

    receipt = net.tokens.issue(net.stranger, 73_000, REFERENCE, sender=net.company)

    assert receipt.events == [
        net.tokens.Transfer("0x" + "00" * 20, net.stranger, 73_000),
        net.tokens.Issued(net.stranger, 73_000, REFERENCE),
    ]
    assert net.tokens.balanceOf(net.stranger) == 73_000
    assert net.tokens.totalSupply() == supply + 73_000


def test_company_redeems_only_its_own_tokens(net: Net) -> None:
    net.tokens.issue(net.company, 300_000, REFERENCE, sender=net.company)
    supply = net.tokens.totalSupply()

    receipt = net.tokens.redeem(300_000, REFERENCE, sender=net.company)

    assert net.tokens.Redeemed(net.company, 300_000, REFERENCE) in receipt.events
    assert net.tokens.totalSupply() == supply - 300_000
    with ape.reverts(net.tokens.ERC20InsufficientBalance):
        net.tokens.redeem(1, REFERENCE, sender=net.company)
    assert net.tokens.balanceOf(net.client1) == 1_000_000


@pytest.mark.parametrize("who", ["operator", "client1", "stranger"])
def test_nobody_but_the_company_issues_or_redeems(net: Net, who: str) -> None:
    caller = getattr(net, who)

    with ape.reverts(net.tokens.AccessManagedUnauthorized, error_inputs={"caller": caller.address}):
        net.tokens.issue(caller, 1, REFERENCE, sender=caller)
    with ape.reverts(net.tokens.AccessManagedUnauthorized, error_inputs={"caller": caller.address}):
        net.tokens.redeem(1, REFERENCE, sender=caller)

    assert net.tokens.totalSupply() == 1_000_000 + ALLOTMENT


def test_supply_of_rights_is_fixed_at_construction(net: Net, project: ProjectManager) -> None:
    rights = net.operator.deploy(project.EnergyRights, 1_000_000_000, net.company)

    assert rights.totalSupply() == rights.balanceOf(net.company) == 1_000_000_000
    assert {method.name for method in rights.contract_type.mutable_methods} == {
        "approve",
        "permit",
        "transfer",
        "transferFrom",
    }


def test_a_token_and_a_right_have_three_decimals(net: Net, project: ProjectManager) -> None:
    rights = net.operator.deploy(project.EnergyRights, 1, net.company)

    assert (net.tokens.decimals(), rights.decimals()) == (3, 3)
    assert (net.tokens.symbol(), rights.symbol()) == ("ET", "ER")
