"""A steady pulse of blocks on development chains."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from energyshare.chain.connection import Chain
from energyshare.errors import ChainError

__all__ = ["BlockMaker"]

logger = logging.getLogger(__name__)


class BlockMaker:
    """Makes a block on each of several chains every `interval_s` seconds, from a thread of its own.

    So a network can be deployed at full speed, a block a transaction, and then run at the pace of a
    real one, any fraction of a second included.
    """

    def __init__(self, chains: Sequence[Chain], interval_s: float) -> None:
        self._chains = chains
        self._interval_s = interval_s
        self.failure: ChainError | None = None
        """Why there are no more blocks."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="block maker", daemon=True)

    def start(self) -> None:
        for chain in self._chains:
            chain.stop_automine()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        due = time.monotonic() + self._interval_s
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._interval_s, time.monotonic())
            for chain in self._chains:
                try:
                    chain.mine()
                except ChainError as error:
                    if not self._stop.is_set():
                        self.failure = error
                        logger.error("no more blocks on the %s chain: %s", chain.name, error)
                    return
