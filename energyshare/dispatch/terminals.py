"""The agents' terminals over MQTT: movements become signed commands, and readings are what terminals retain."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount

from energyshare.dispatch.agents import EventReference, Movement
from energyshare.dispatch.rules import Service
from energyshare.dispatch.station_client import Storage
from energyshare.physical.gateway import Exchange, Gateway
from energyshare.physical.link import LinkError
from energyshare.physical.messages import ChainReference, Command, MeterReading, Result
from energyshare.physical.topics import State

__all__ = ["Directory", "StationTerminalMeter", "TerminalCommands", "TerminalRegister"]

logger = logging.getLogger(__name__)

POWER_W = 10_000
"""At which a unit moves where nothing else is said: a household's connection."""

REMEMBERED = 10_000
"""Commands that are not sent again while they are among the latest."""


@dataclass(frozen=True, slots=True)
class Directory:
    """Whose terminal is which. The chain may know users who have none here: nothing moves to them, nor from them."""

    users: Mapping[str, str]
    """Terminal by the user's address."""
    stations: Mapping[int, str]
    """Terminal by the station's id."""


class TerminalCommands:
    """`Commands` of one party to its terminal, signed with its key."""

    def __init__(self, gateway: Gateway, directory: Directory, account: LocalAccount, power_w: int = POWER_W) -> None:
        self._gateway = gateway
        self._directory = directory
        self._account = account
        self._power_w = power_w
        self._sent: dict[EventReference, Exchange] = {}
        """So as not to ask again for what is done; lost without harm."""

    def send(self, movement: Movement) -> None:
        """Carried out once, however often it is asked for: its id follows from the movement's event."""
        known = self._sent.get(movement.reference)
        if known is not None and not _was_not_taken(known):
            return
        user, station = self._directory.users.get(movement.user), self._directory.stations[movement.station]
        if user is None:
            logger.warning("%s has no terminal: its unit does not move, as its meter will say", movement.user)
            return
        supplied = movement.service is Service.SUPPLY
        command = Command(
            reference=_reference(movement.reference),
            terminal=station if supplied else user,
            service=movement.service,
            peer=user if supplied else station,
            connection=_reference(movement.connection),
            energy_wh=movement.energy_wh,
            power_w=self._power_w,
            not_before=movement.not_before,
            expires=movement.expires,
        )
        exchange = self._gateway.send(command.signed(self._account))
        if len(self._sent) >= REMEMBERED:
            del self._sent[next(iter(self._sent))]
        self._sent[movement.reference] = exchange
        exchange.result.add_done_callback(_noted)


class TerminalRegister:
    """The `Register` of a user's terminal."""

    def __init__(self, gateway: Gateway, terminal: str) -> None:
        self._gateway = gateway
        self._terminal = terminal

    def total_wh(self, service: Service) -> int | None:
        reading = _current(self._gateway, self._terminal)
        if reading is None:
            return None
        return reading.absorbed_wh if service is Service.SUPPLY else reading.injected_wh


class StationTerminalMeter:
    """The `StationMeter` of a station's terminal."""

    def __init__(self, gateway: Gateway, directory: Directory, station: int) -> None:
        self._gateway = gateway
        self._directory = directory
        self._terminal = directory.stations[station]

    def received_wh(self, user: str, connection: EventReference) -> int | None:
        if _current(self._gateway, self._terminal) is None:
            return None
        terminal = self._directory.users.get(user)
        reading = None if terminal is None else self._gateway.line(self._terminal, terminal)
        return 0 if reading is None or reading.connection != _reference(connection) else reading.received_wh

    def storage(self) -> Storage | None:
        reading = _current(self._gateway, self._terminal)
        if reading is None or reading.available_wh is None:
            return None
        open_commands = self._gateway.open_commands(self._terminal)
        return Storage(reading.available_wh, sum(command.energy_wh for command in open_commands))


def _current(gateway: Gateway, terminal: str) -> MeterReading | None:
    """What a terminal reads, None where it is away: what is retained of it may be old."""
    return gateway.reading(terminal) if gateway.state(terminal) is State.READY else None


def _was_not_taken(exchange: Exchange) -> bool:
    """Whether the broker did not take a command."""
    return exchange.result.done() and isinstance(exchange.result.exception(), LinkError)


def _reference(event: EventReference) -> ChainReference:
    return ChainReference(event.chain_id, "0x" + event.transaction_hash.hex(), event.log_index)


def _noted(result: Future[Result]) -> None:
    """Say what a terminal refused, or did in part: the meters, and so the chain, will tell the rest."""
    error = result.exception()
    if error is not None:
        logger.warning("%s", error)
    elif result.result().detail:
        logger.warning("command %s: %s", result.result().cmd_id, result.result().detail)
