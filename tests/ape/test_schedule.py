"""Stations, lines, dispatch and settlement from ape: every act once, every effect looked at."""

from __future__ import annotations

from dataclasses import dataclass

import ape
import pytest
from ape.api import AccountAPI
from ape.contracts import ContractInstance
from ape.managers.accounts import AccountManager
from ape.managers.chain import ChainManager
from ape.managers.project import ProjectManager
from eth_utils import keccak

UNIT = 1_000
PERIOD_S = 3_600
RULE_DELAY_S = 86_400
SUPPLY, ACQUIRE = 0, 1
SAID_NOTHING, SAID_NO, SAID_YES = 0, 1, 2

_ADMIN_ROLE = 0
_COMPANY_ROLE = 1
_STATION_TERMS = "(address,uint40,uint40,uint24,uint24,bool,bool)"


@dataclass(frozen=True, slots=True)
class Schedule:
    """What stands on the chain, and who acts there."""

    operator: AccountAPI
    company: AccountAPI
    user: AccountAPI
    """Starts with 50 rights, which the settlement may take."""
    station: AccountAPI
    """Acts for station 1: 20 of 40 units stored, 10 rights to buy with."""
    manager: ContractInstance
    rights: ContractInstance
    dispatch: ContractInstance
    lines: ContractInstance
    settlement: ContractInstance


@pytest.fixture(scope="module")
def schedule(project: ProjectManager, accounts: AccountManager) -> Schedule:
    operator, company, user, station = accounts[:4]
    manager = operator.deploy(project.NetworkManager, operator)
    rights = operator.deploy(project.EnergyRights, 1_000 * UNIT, company)
    dispatch = operator.deploy(project.Dispatch, manager, rights, company, UNIT, (10, 2 * UNIT, 3), PERIOD_S)
    lines = project.LineRegistry.at(dispatch.LINES())
    settlement = project.Settlement.at(dispatch.SETTLEMENT())
    for target, signatures in (
        (dispatch, (f"register({_STATION_TERMS})",)),
        (lines, ("setLines(address,(uint32,uint16)[])", "restoreLine(address,uint32)")),
        (settlement, ("setFloat(uint32,uint256)",)),
    ):
        selectors = [keccak(text=signature)[:4] for signature in signatures]
        manager.setTargetFunctionRole(target, selectors, _COMPANY_ROLE, sender=operator)
    manager.grantRole(_COMPANY_ROLE, company, 0, sender=operator)
    manager.grantRole(_ADMIN_ROLE, operator, RULE_DELAY_S, sender=operator)
    dispatch.register((station, 40 * UNIT, 20 * UNIT, 0, 0, True, True), sender=company)
    lines.setLines(user, [(1, 1_000)], sender=company)
    rights.transfer(user, 50 * UNIT, sender=company)
    for holder in (company, user):
        rights.approve(settlement, 1_000 * UNIT, sender=holder)
    settlement.fund(1, 10 * UNIT, sender=company)
    return Schedule(operator, company, user, station, manager, rights, dispatch, lines, settlement)


def test_supply_moves_a_right_a_unit_and_is_acknowledged(schedule: Schedule) -> None:
    receipt = schedule.dispatch.applyFor(SUPPLY, 4, 0, sender=schedule.user)

    names = [event.event_name for event in receipt.events]
    assert names.count("UnitTransferred") == 4
    assert schedule.dispatch.stationState(1).stored == 16 * UNIT
    assert schedule.rights.balanceOf(schedule.user) == 46 * UNIT
    assert schedule.settlement.freeOf(1) == 14 * UNIT

    receipt = schedule.dispatch.close(SUPPLY, 3_600, sender=schedule.user)
    assert [event.event_name for event in receipt.events] == ["Metered"]


def test_a_false_reading_suspends_the_line_until_the_company_restores_it(schedule: Schedule) -> None:
    schedule.dispatch.applyFor(SUPPLY, 4, 0, sender=schedule.user)

    receipt = schedule.dispatch.close(SUPPLY, 1, sender=schedule.user)

    names = [event.event_name for event in receipt.events]
    assert "MeterDisputed" in names
    assert schedule.lines.linesOf(schedule.user)[0].suspended
    assert schedule.dispatch.assigned(schedule.user, SUPPLY).station == 0
    schedule.lines.restoreLine(schedule.user, 1, sender=schedule.company)
    assert schedule.dispatch.assigned(schedule.user, SUPPLY).station == 1


def test_acquisition_pays_once_the_station_accepts(schedule: Schedule) -> None:
    schedule.dispatch.applyFor(ACQUIRE, 3, 0, sender=schedule.user)
    assert schedule.rights.balanceOf(schedule.user) == 50 * UNIT

    schedule.dispatch.accept(schedule.user, 3, 3 * UNIT, sender=schedule.station)

    assert schedule.rights.balanceOf(schedule.user) == 53 * UNIT
    assert schedule.dispatch.stationState(1).stored == 23 * UNIT
    with ape.reverts(schedule.dispatch.NotDue):
        schedule.dispatch.accept(schedule.user, 1, 4 * UNIT, sender=schedule.station)


def test_only_the_station_reports_and_only_what_its_numbers_bear(schedule: Schedule) -> None:
    report = (0, True, 0, SAID_YES, SAID_NOTHING)
    with ape.reverts(schedule.dispatch.NotTheStation):
        schedule.dispatch.report(1, report, sender=schedule.user)
    with ape.reverts(schedule.dispatch.FlagContradicted):
        schedule.dispatch.report(1, report, sender=schedule.station)

    schedule.dispatch.report(1, (0, True, 0, SAID_NO, SAID_NOTHING), sender=schedule.station)

    state = schedule.dispatch.stationState(1)
    assert (state.stored, state.canSupply, state.canAcquire) == (0, False, True)


def test_a_period_is_settled_by_anybody_and_not_before_its_end(schedule: Schedule, chain: ChainManager) -> None:
    schedule.settlement.setFloat(1, 7 * UNIT, sender=schedule.company)
    with ape.reverts(schedule.settlement.PeriodNotOver):
        schedule.settlement.settle(1, sender=schedule.user)

    chain.pending_timestamp += PERIOD_S + 1
    schedule.settlement.settle(1, sender=schedule.user)

    assert schedule.settlement.freeOf(1) == 7 * UNIT


def test_the_rules_change_after_their_delay_with_an_event(schedule: Schedule, chain: ChainManager) -> None:
    rules = (3, 2 * UNIT, 3)
    with ape.reverts(schedule.manager.AccessManagerNotScheduled):
        schedule.dispatch.setRules(rules, sender=schedule.operator)

    data = schedule.dispatch.setRules.encode_input(rules)
    schedule.manager.schedule(schedule.dispatch, data, 0, sender=schedule.operator)
    chain.pending_timestamp += RULE_DELAY_S + 1
    receipt = schedule.dispatch.setRules(rules, sender=schedule.operator)

    assert [event.event_name for event in receipt.events if event.contract_address == schedule.dispatch] == [
        "RulesChanged"
    ]
    assert schedule.dispatch.rules().unitsPerConnection == 3
