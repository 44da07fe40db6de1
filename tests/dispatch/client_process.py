"""A scheduler client in a process of its own, which dies at a given moment."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

from eth_account import Account

from energyshare.chain.connection import Chain
from energyshare.chain.transport import HttpProvider
from energyshare.dispatch.agents import run
from energyshare.dispatch.client import Order, RegisterMeter, SchedulerClient
from energyshare.dispatch.rules import Service
from energyshare.dispatch.schedule import Schedule


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


def draw_until_killed(
    url: str, dispatch: str, deployed_at: int, key: bytes, order: Order, register: Path, requests: int, answered: bool
) -> None:
    """Serve an order, and be killed (SIGKILL) at request number `requests` to the node.

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
    schedule = Schedule(Chain.connect(url, "schedule"), dispatch, deployed_at)
    account = Account.from_key(key)
    meter = RegisterMeter(schedule, account.address, FileRegister(register))
    client = SchedulerClient(schedule, account, order, meter, confirmations=2, patience_blocks=300)
    run([client], threading.Event(), poll_s=0.01)
