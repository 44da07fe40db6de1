"""Agents in processes of their own, which die at a given moment."""

from __future__ import annotations

import json
import os
import pickle
import signal
import threading
from pathlib import Path
from typing import Any

from eth_account import Account

from energyshare.chain.connection import Chain
from energyshare.chain.transport import HttpProvider
from energyshare.dispatch.agents import EventReference, Movement, run
from energyshare.dispatch.client import Order, RegisterMeter, SchedulerClient
from energyshare.dispatch.rules import Service
from energyshare.dispatch.schedule import Schedule
from energyshare.dispatch.station_client import StationClient, Storage


class FileRegister:
    """A register that another process keeps in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def total_wh(self, service: Service) -> int | None:
        try:
            totals: dict[str, int] = json.loads(self._path.read_text())
        except FileNotFoundError:
            return None
        return totals.get(service.value, 0)


def _die_at(requests: int, answered: bool) -> None:
    """Let this process kill itself at its request number `requests` to a node.

    Before the request leaves, or with `answered` after the node has taken it: the answer is then never read.
    """
    post = HttpProvider._post
    left = requests

    def counted(self: HttpProvider, body: bytes, repeatable: bool) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and not answered:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = post(self, body, repeatable)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    HttpProvider._post = counted  # type: ignore[method-assign]


def draw_until_killed(
    url: str, dispatch: str, deployed_at: int, key: bytes, order: Order, register: Path, requests: int, answered: bool
) -> None:
    """Serve an order, and be killed (SIGKILL) as `_die_at` says."""
    _die_at(requests, answered)
    schedule = Schedule(Chain.connect(url, "schedule"), dispatch, deployed_at)
    account = Account.from_key(key)
    meter = RegisterMeter(schedule, account.address, FileRegister(register))
    client = SchedulerClient(schedule, account, order, meter, confirmations=2, patience_blocks=300)
    run([client], threading.Event(), poll_s=0.01)


class Spool:
    """The way to a terminal in another process: a file for each movement, which may be written many times."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, movement: Movement) -> None:
        reference = movement.reference
        path = self._folder / f"{reference.transaction_hash.hex()}-{reference.log_index}"
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(pickle.dumps(movement))
        fresh.replace(path.with_suffix(".movement"))


class SpooledMeter:
    """What the terminal in the other process has received, by connection."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def received_wh(self, user: str, connection: EventReference) -> int | None:
        received: dict[tuple[str, EventReference], int] = pickle.loads(self._path.read_bytes())
        return received.get((user, connection), 0)

    def storage(self) -> Storage | None:
        return None


def station_until_killed(
    url: str, dispatch: str, deployed_at: int, key: bytes, station: int, folder: Path, requests: int, answered: bool
) -> None:
    """Act for a station until killed, as `draw_until_killed` for a user."""
    _die_at(requests, answered)
    schedule = Schedule(Chain.connect(url, "schedule"), dispatch, deployed_at)
    client = StationClient(
        schedule,
        station,
        Account.from_key(key),
        Spool(folder),
        SpooledMeter(folder / "received"),
        lambda stored_wh, chain_says, rules: None,
        patience_blocks=300,
    )
    run([client], threading.Event(), poll_s=0.01)
