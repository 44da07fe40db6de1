"""The stations of a grid: their cells, their place in the station list, and who is connected to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from energyshare.dispatch.rules import End, Rules, Service, admits, best, ended_by, run_length
from energyshare.physical.storage import Storage
from energyshare.simulation.grid.case import Case, Site

__all__ = ["Efficiency", "Station", "StationList"]


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Of conversion between grid and cells, in basis points each way. SimBench states 95 % for its storages."""

    charge_bp: int = 9_500
    discharge_bp: int = 9_500


class Station:
    """A storage at the grid, half full at first.

    Within a time step supply and acquisition are set off: cells see what is left of both.
    """

    __slots__ = ("_net_wh", "_power_wh", "storage")

    def __init__(self, site: Site, efficiency: Efficiency) -> None:
        self.storage = Storage(
            capacity_wh=site.capacity_wh,
            initial_wh=site.capacity_wh // 2,
            max_power_w=site.power_w,
            charge_efficiency_bp=efficiency.charge_bp,
            discharge_efficiency_bp=efficiency.discharge_bp,
        )
        self._power_wh = site.step_wh
        self._net_wh = 0
        """Given to the grid in this time step, less what was taken from it."""

    def level(self, service: Service) -> int:
        """What the cells can still give or take, as the grid sees it."""
        if service is Service.SUPPLY:
            return self.storage.deliverable_wh - self._net_wh
        return self.storage.acceptable_wh + self._net_wh

    def power_left(self, service: Service) -> int:
        """What the converter still lets through in this time step."""
        return self._power_wh - (self._net_wh if service is Service.SUPPLY else -self._net_wh)

    def move(self, service: Service, energy_wh: int) -> None:
        """Give to the grid or take from it."""
        self._net_wh += energy_wh if service is Service.SUPPLY else -energy_wh

    def end_step(self) -> None:
        """Let what was moved reach the cells. Raises InsufficientEnergy or InsufficientRoom."""
        net, self._net_wh = self._net_wh, 0
        self.storage = self.storage.discharged(net) if net > 0 else self.storage.charged(-net)


class StationList:
    """The station list of a grid, and who is connected to whom."""

    def __init__(self, case: Case, rules: Rules, efficiency: Efficiency) -> None:
        self._stations = [Station(site, efficiency) for site in case.sites]
        self._rules = rules
        self._flags = {service: [False] * len(self._stations) for service in Service}
        self._connected: dict[Service, list[set[int]]] = {
            service: [set() for _ in self._stations] for service in Service
        }
        """Users, by station."""
        self._station_of: dict[int, int] = {}

    @property
    def stored_wh(self) -> list[int]:
        """In the cells of each."""
        return [station.storage.stored_wh for station in self._stations]

    def report(self) -> None:
        """Each station says whether it would admit a user."""
        for service, flags in self._flags.items():
            flags[:] = [self._admits(service, station) for station in range(len(flags))]

    def connect(self, user: int, service: Service, lines: Sequence[tuple[int, int]]) -> int | None:
        """End the user's connection, if there is one, and assign a station; None where none is left.

        Clears the flag of each station that fails its own check.
        """
        if user in self._station_of:
            self._connected[service][self._station_of.pop(user)].discard(user)
        flags = self._flags[service]
        while (station := best(lines, flags)) is not None:
            if self._admits(service, station):
                self._connected[service][station].add(user)
                self._station_of[user] = station
                return station
            flags[station] = False
        return None

    def draw(self, service: Service, station: int, units: int) -> int:
        """Move up to k of a connection's units, until the station ends it. Returns how many."""
        rules, chosen, connected = self._rules, self._stations[station], self._connected[service][station]
        limit = min(units, rules.k, chosen.power_left(service) // rules.unit_wh)
        drawn = run_length(chosen.level(service), len(connected), rules.reserve_wh, rules.unit_wh, limit)
        chosen.move(service, drawn * rules.unit_wh)
        if ended_by(chosen.level(service), len(connected), rules.reserve_wh, drawn, rules.k) is End.STATION:
            self._flags[service][station] = False
            connected.clear()
        return drawn

    def end_step(self) -> list[int]:
        """End every connection and let what moved reach the cells. Returns what each station then stores."""
        for user, station in self._station_of.items():
            for sides in self._connected.values():
                sides[station].discard(user)
        self._station_of.clear()
        for served in self._stations:
            served.end_step()
        return self.stored_wh

    def _admits(self, service: Service, station: int) -> bool:
        """The rule on what the cells hold; a converter at its limit takes nobody either."""
        chosen, rules = self._stations[station], self._rules
        connected = len(self._connected[service][station])
        passes = admits(chosen.level(service), connected, rules.reserve_wh, rules.unit_wh)
        return passes and chosen.power_left(service) >= rules.unit_wh
