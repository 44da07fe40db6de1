"""A whole network on this machine: two dev chains, contracts, sealers and relayers, stopped together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from energyshare.bridge.relayer import Delivery, Relayer, run_relayers
from energyshare.bridge.sealer import Journal, Sealer, SealerSource
from energyshare.bridge.sealer_service import RemoteSealer, SealerService
from energyshare.chain import devnet
from energyshare.chain.block_maker import BlockMaker
from energyshare.chain.connection import Chain
from energyshare.deployment.actors import Actors
from energyshare.deployment.deploy import Terms, deploy
from energyshare.network import Network
from energyshare.side import Side

__all__ = ["CHAIN_IDS", "LocalNetwork"]

logger = logging.getLogger(__name__)

CHAIN_IDS = {Side.TRANSACTION: 31_337, Side.SCHEDULE: 31_338}
"""Of the two dev chains."""

_FUNDS = 10**24
"""Wei that everyone who pays for gas starts with on a dev chain."""


class LocalNetwork:
    """Two dev chains with a network on them, everything in this process but the chains of anvil.

    At first a block comes with each transaction, and `relay` carries over what is confirmed. After `run` blocks come
    at a steady pace and relayers run in threads.
    """

    def __init__(
        self,
        kind: devnet.Kind,
        actors: Actors,
        terms: Terms,
        *,
        ports: dict[Side, int] | None = None,
        serve: bool = False,
        on_step: Callable[[str], None] = logger.info,
    ) -> None:
        """Start the chains and deploy, a block a transaction.

        Args:
            ports: Of the chains' JSON-RPC on loopback; 0 for a free one.
            serve: Let other processes in: chains by JSON-RPC, sealers by HTTP.
            on_step: Told what is being done.
        """
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._block_maker: BlockMaker | None = None
        self._services: list[SealerService] = []
        self._journal: Journal | None = None
        self.chains: dict[Side, Chain] = {}
        try:
            for side in Side:
                on_step(f"start the {side} chain")
                self.chains[side] = devnet.start(
                    kind,
                    side.value,
                    CHAIN_IDS[side],
                    alloc=dict.fromkeys(actors.everyone(terms.parties, side), _FUNDS),
                    port=(ports or {}).get(side, 0) if serve or kind == "anvil" else None,
                )
            journal = self._journal = Journal(None)
            sealers = {
                side: [Sealer(self.chains[side], account, journal) for account in actors.sealers(side, terms.sealers)]
                for side in Side
            }
            sources: dict[Side, Sequence[SealerSource]] = dict(sealers)
            urls: dict[Side, list[str]] = {side: [] for side in Side}
            if serve:
                for side in Side:
                    services = [SealerService(sealer) for sealer in sealers[side]]
                    for service in services:
                        service.start()
                    self._services += services
                    urls[side] = [service.url for service in services]
                    sources[side] = [RemoteSealer(url) for url in urls[side]]
            record = deploy(
                self.chains,
                actors,
                terms,
                urls={side: chain.url for side, chain in self.chains.items() if chain.url is not None},
                sealer_urls=urls,
                on_step=on_step,
            )
            self.network = Network(record, self.chains, actors)
            self.relayers: list[Relayer] = self.network.relayers(sources)
        except BaseException:
            self.close()
            raise

    def run(
        self,
        block_time_s: float,
        poll_s: float = 0.1,
        on_delivery: Callable[[Relayer, Delivery], None] | None = None,
    ) -> None:
        """Let the chains make a block every `block_time_s` seconds, and start the relayers. Returns at once."""
        self._block_maker = BlockMaker(list(self.chains.values()), block_time_s)
        self._block_maker.start()

        def relay() -> None:
            try:
                run_relayers(self.relayers, self._stop, poll_s, on_delivery=on_delivery)
            except Exception as error:
                self._failure = error

        self._thread = threading.Thread(target=relay, name="relayers", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what has ended the blocks or the relayers since `run`, if anything has."""
        failure = self._failure or (self._block_maker and self._block_maker.failure)
        if failure:
            raise failure

    def relay(self) -> list[Delivery]:
        """Deliver all that is confirmed, both ways, until nothing is left."""
        delivered: list[Delivery] = []
        for relayer in self.relayers:
            while (delivery := relayer.step()) is not None:
                delivered.append(delivery)
        return delivered

    def write_record(self, path: Path) -> None:
        """Let later commands find this network."""
        self.network.record.write(path)

    def close(self) -> None:
        """Stop relayers, sealers and chains."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        if self._block_maker is not None:
            self._block_maker.stop()
        for service in self._services:
            service.stop()
        if self._journal is not None:
            self._journal.close()
        for chain in self.chains.values():
            chain.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
