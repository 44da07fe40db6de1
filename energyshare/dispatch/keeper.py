"""What anybody may do for the network, and somebody should: close idle connections, settle periods that are over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from energyshare.dispatch.agents import Act, News, Step, Turn, backwards, overtaken
from energyshare.dispatch.rules import Service
from energyshare.dispatch.schedule import SERVICES, Connection, Schedule
from energyshare.errors import NonceTaken, TransactionReverted

__all__ = ["Keeper", "connections_of"]


def connections_of(schedule: Schedule, station: int, height: int) -> Iterator[tuple[str, Service, Connection]]:
    """Who is connected to a station or has units due there at the block `height`, those who connected last first.

    Reads no further back than it must: the station's own counts at that block say when all are found. Users who were
    counted when it was registered are nowhere on record, and cost a search back to the deployment while they count.
    """
    state = schedule.station(station, height)
    missing = {service: state.connected(service) for service in Service}
    coming_wh = schedule.coming_wh(station, height)
    seen: set[tuple[str, Service]] = set()
    made = backwards(
        schedule.chain, schedule.dispatch, "Connected", schedule.deployed_at, height, None, station.to_bytes(32)
    )
    while any(missing.values()) or coming_wh > 0:
        log = next(made, None)
        if log is None:
            return
        user = to_checksum_address(bytes(log["topics"][1])[-20:])
        service = SERVICES[int.from_bytes(log["data"][:32])]
        if (user, service) in seen:
            continue
        seen.add((user, service))
        connection = schedule.connection(user, service, height)
        if connection.station != station:
            continue
        connected = schedule.is_connected(user, service, height)
        missing[service] -= connected
        coming_wh -= connection.due * schedule.unit_wh
        if connected or connection.due:
            yield user, service, connection


class Keeper:
    """Closes connections that are idle too long and settles stations whose period is over. Any number may run."""

    def __init__(
        self, schedule: Schedule, account: LocalAccount, stations: Sequence[int] | None = None, settles: bool = True
    ) -> None:
        """
        Args:
            account: Pays the gas; it needs nothing else.
            stations: Whose; by default all that are registered.
        """
        self.schedule = schedule
        self.account = account
        self._stations = stations
        self._settles = settles
        self._next = 0

    def __str__(self) -> str:
        return "keeper"

    def step(self, wait: bool = True) -> Step:
        """One transaction at most. Raises EnergyShareError where nothing was done."""
        turn = Turn.begin(self.schedule.chain, self.account)
        if turn is None:
            return Step(Act.WAITS_FOR_BLOCK, "a transaction of the keeper is on its way")
        try:
            return self.keep(turn, wait)
        except NonceTaken as error:
            return overtaken(error)
        except TransactionReverted as error:
            if error.name not in ("NotConnected", "NotIdle", "PeriodNotOver"):
                raise
            return overtaken(error)

    def keep(self, turn: Turn, wait: bool) -> Step:
        """The same, with a turn of somebody's who keeps besides other things."""
        height = self.schedule.chain.height()
        timestamp = self.schedule.chain.header(height).timestamp
        idle_blocks = self.schedule.rules().idle_blocks
        for station in self._stations or range(1, self.schedule.station_count() + 1):
            if self._settles and timestamp >= self.schedule.period_end(station):
                digest, _ = turn.take(self.schedule.settlement.functions.settle(station), wait)
                return Step(Act.SETTLED, f"station {station}", digest)
            for user, service, connection in connections_of(self.schedule, station, height):
                if height - connection.active_block >= idle_blocks:
                    close = self.schedule.dispatch.functions.closeIdle(user, SERVICES.index(service))
                    digest, _ = turn.take(close, wait)
                    return Step(Act.CLOSED_IDLE, f"{user}, {service}, station {station}", digest)
        self._next = height + max(1, idle_blocks // 8)
        return Step(Act.WAITS_FOR_BLOCK, "nothing is idle and no period is over")

    def stirred(self, news: News | None) -> bool:
        """Once in a while: nothing becomes idle at once."""
        return news is not None and (news.reorganised or news.height >= self._next)
