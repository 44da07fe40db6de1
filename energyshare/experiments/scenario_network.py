"""The network of a scenario: its stations, lines and rights on real contracts, and who plays whom there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from energyshare.chain import devnet
from energyshare.chain.keys import Keyring
from energyshare.deployment.actors import COMPANY, Actors
from energyshare.deployment.deploy import StationTerms, Terms
from energyshare.deployment.local import LocalNetwork
from energyshare.dispatch.contracts import ContractDispatcher, Meters
from energyshare.dispatch.rules import MAX_LOSS_BP, Service
from energyshare.dispatch.scenario import Apply, Connect, Scenario, ScenarioError
from energyshare.side import Side

__all__ = ["ScenarioNetwork", "scenario_network", "terms_of"]

logger = logging.getLogger(__name__)

MAX_UNITS_PER_CONNECTION = 2**16 - 1
"""The contracts count the units of a connection with 16 bits. Energy always fits: 40 bits hold 10^9 units."""

MAX_CONNECTED = 2**24 - 1
"""And the users of a station with 24."""


@dataclass(frozen=True, slots=True)
class ScenarioNetwork:
    """A scenario's network while it runs. Users and stations go by the names of parties, by those of the scenario."""

    local: LocalNetwork
    users: Mapping[str, str]
    stations: Mapping[str, str]
    """In the order of registration."""

    def dispatcher(self, meters: Meters | None = None) -> ContractDispatcher:
        """The contracts by the scenario's names; meters read what they should unless others are given."""
        network, side = self.local.network, Side.SCHEDULE
        return ContractDispatcher(
            network.schedule(),
            {name: network.account(side, party) for name, party in self.users.items()},
            {name: network.account(side, party) for name, party in self.stations.items()},
            meters,
        )


@contextmanager
def scenario_network(
    scenario: Scenario, kind: devnet.Kind = "py-evm", on_step: Callable[[str], None] = logger.info
) -> Iterator[ScenarioNetwork]:
    """Two dev chains with the scenario's network on them, stopped in the end.

    Args:
        on_step: Told what is being done.

    Raises:
        ScenarioError: The contracts cannot hold it.
        ChainError: A chain could not be started.
    """
    terms = terms_of(scenario)
    with LocalNetwork(kind, Actors(Keyring()), terms, on_step=on_step) as local:
        on_step("let the settlement take the users' rights")
        schedule = local.network.schedule()
        for party, rights in terms.rights.items():
            schedule.approve(local.network.account(Side.SCHEDULE, party), rights)
        yield ScenarioNetwork(local, _users(scenario), _stations(scenario))


def terms_of(scenario: Scenario) -> Terms:
    """What a scenario's network is made with. Raises ScenarioError where the contracts cannot hold it."""
    _check(scenario)
    users, stations, rights = _users(scenario), _stations(scenario), scenario.rights_needed()
    lines: dict[str, dict[str, int]] = {}
    for line in scenario.lines:
        lines.setdefault(users[line.user], {})[stations[line.station]] = line.loss_bp
    return Terms(
        rights_supply=Terms().rights_supply + rights * (len(users) + len(stations)),
        tokens={},
        rights=dict.fromkeys(users.values(), rights),
        others=(COMPANY,),
        rules=scenario.rules,
        stations=tuple(StationTerms(stations[station.id], station.state(), rights) for station in scenario.stations),
        lines=lines,
    )


def _users(scenario: Scenario) -> dict[str, str]:
    return {user: f"Client{number}" for number, user in enumerate(scenario.users, 1)}


def _stations(scenario: Scenario) -> dict[str, str]:
    return {station.id: f"Station{number}" for number, station in enumerate(scenario.stations, 1)}


def _check(scenario: Scenario) -> None:
    if scenario.k > MAX_UNITS_PER_CONNECTION:
        raise ScenarioError(
            f"k is {scenario.k}, and on a chain a connection ends after {MAX_UNITS_PER_CONNECTION} units: lower it"
        )
    most = MAX_CONNECTED - len(scenario.users)
    for station in scenario.stations:
        for service in Service:
            connected = station.state().connected(service)
            if connected > most:
                raise ScenarioError(
                    f"station {station.id} has {connected} users connected for {service}, and beside those of this "
                    f"scenario a chain counts {most}: lower connected_{service}"
                )
    sellers = {
        event.user
        for event in scenario.events
        if (isinstance(event, Apply) and event.type == "acquire")
        or (isinstance(event, Connect) and event.side is Service.ACQUIRE)
    }
    for line in scenario.lines:
        if line.loss_bp == MAX_LOSS_BP and line.user in sellers:
            raise ScenarioError(
                f"the line from user {line.user} to station {line.station} loses all that is sent, and no meter can be "
                "right about a sale over it: leave it out, or lower its loss"
            )
