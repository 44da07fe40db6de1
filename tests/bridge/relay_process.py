"""A relayer in a process of its own, which dies at a given moment."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from energyshare.bridge.sealer import Journal
from energyshare.chain.keys import Keyring
from energyshare.chain.transport import HttpProvider
from energyshare.deployment.actors import Actors
from energyshare.deployment.record import NetworkRecord
from energyshare.errors import EnergyShareError
from energyshare.network import Network
from energyshare.side import Side


def relay_until_killed(record: Path, journal: Path, requests: int, answered: bool) -> None:
    """Relay both ways, and be killed (SIGKILL) at request number `requests` to a node.

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
    network = Network.connect(NetworkRecord.read(record), Actors(Keyring()))
    signed = Journal(journal)
    relayers = network.relayers({side: network.sealers(side, 4, signed) for side in Side})
    while True:
        for relayer in relayers:
            try:
                relayer.step()
            except EnergyShareError as error:
                print(error)
