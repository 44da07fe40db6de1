"""The station list as the contracts hold it at one block, under the names that people know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from eth_utils.address import to_checksum_address

from energyshare.amount import whole_units
from energyshare.dispatch.rules import Service, level
from energyshare.dispatch.schedule import SERVICES, Schedule
from energyshare.ledger.history import ScheduleEvent
from energyshare.network import Network
from energyshare.side import Side

__all__ = ["ListedStation", "listed_stations", "names_on_record", "station_names"]


@dataclass(frozen=True, slots=True)
class ListedStation:
    """One station and its account. Amounts in watt-hours, of energy and of rights."""

    id: int
    name: str
    """Of the party whose key acts for it, else `station 3` or the like."""
    key: str
    capacity: int
    stored: int
    coming: int
    """What users have agreed to send."""
    flags: Mapping[Service, bool]
    connected: Mapping[Service, int]
    epochs: Mapping[Service, int]
    transfers: int
    held: int
    """Rights, those set aside included."""
    due: int
    """Rights set aside for units that are not accepted yet."""
    float_wh: int
    """Rights that it begins each period with."""
    period_end: int
    """Unix seconds from which on it may be settled."""

    @property
    def free(self) -> int:
        """Rights that it can buy energy with."""
        return self.held - self.due

    def level(self, service: Service) -> int:
        """Stored energy for supply, free space for acquisition, without the room for what is coming."""
        return level(service, self.stored if service is Service.SUPPLY else self.stored + self.coming, self.capacity)

    def to_json(self) -> dict[str, object]:
        """The keys of a scenario's stations and more; amounts in whole units."""
        return {
            "id": self.id,
            "key": self.key,
            "capacity": whole_units(self.capacity),
            "stored": whole_units(self.stored),
            "coming": whole_units(self.coming),
            **{f"can_{service}": self.flags[service] for service in SERVICES},
            **{f"connected_{service}": self.connected[service] for service in SERVICES},
            "transfers": self.transfers,
            "rights": whole_units(self.free),
            "due": whole_units(self.due),
            "float": whole_units(self.float_wh),
            "period_end": self.period_end_utc,
        }

    @property
    def period_end_utc(self) -> str:
        """In ISO 8601."""
        return datetime.fromtimestamp(self.period_end, UTC).isoformat().replace("+00:00", "Z")


def listed_stations(network: Network, schedule: Schedule, block: int) -> dict[int, ListedStation]:
    """Every station by its id, at a block."""
    chain, dispatch, settlement = schedule.chain, schedule.dispatch.functions, schedule.settlement.functions
    count = int(chain.call(dispatch.stationCount(), block))
    states = {station: chain.call(dispatch.stationState(station), block) for station in range(1, count + 1)}
    names = station_names(network, {station: to_checksum_address(state[0]) for station, state in states.items()})
    period = int(chain.call(settlement.period(), block))
    found: dict[int, ListedStation] = {}
    for station, (key, capacity, stored, coming, *flags_and_counts) in states.items():
        can_supply, can_acquire, supplied, acquiring, supply_epoch, acquire_epoch, transfers = flags_and_counts
        held, due, start = chain.call(settlement.accountOf(station), block)
        found[station] = ListedStation(
            station,
            names[station],
            to_checksum_address(key),
            capacity,
            stored,
            coming,
            dict(zip(SERVICES, (can_supply, can_acquire), strict=True)),
            dict(zip(SERVICES, (supplied, acquiring), strict=True)),
            dict(zip(SERVICES, (supply_epoch, acquire_epoch), strict=True)),
            transfers,
            held,
            due,
            int(chain.call(settlement.floatOf(station), block)),
            start + period,
        )
    return found


def station_names(network: Network, keys: Mapping[int, str]) -> dict[int, str]:
    """What stations are called, by id, given the keys that act for them.

    A party with several stations is the first of them; those without a name of their own are `station 3` or the like.
    """
    parties = {party.addresses.get(Side.SCHEDULE): party.name for party in network.record.parties}
    return {station: parties.pop(key, f"station {station}") for station, key in sorted(keys.items())}


def names_on_record(network: Network, events: Iterable[ScheduleEvent]) -> dict[int, str]:
    """What stations are called after these events."""
    keys: dict[int, str] = {}
    for event in events:
        if event.name == "StationRegistered":
            keys[event.args["station"]] = event.args["terms"][0]
        elif event.name == "StationKeyChanged":
            keys[event.args["station"]] = event.args["current"]
    return station_names(network, keys)
