"""Development chains, started and stopped for the caller."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from web3 import Web3

from energyshare.chain.anvil import Anvil
from energyshare.chain.connection import Chain
from energyshare.chain.py_evm import PyEvmProvider
from energyshare.chain.rpc_server import RpcServer
from energyshare.errors import ChainError

Kind = Literal["py-evm", "anvil"]
"""What runs a development chain: `py-evm` needs nothing installed, `anvil` is faster."""


def start(
    kind: Kind,
    name: str,
    chain_id: int,
    alloc: Mapping[str, int] | None = None,
    block_time: float | None = None,
    port: int | None = None,
    salt: bytes | None = None,
) -> Chain:
    """Start a development chain; closing the Chain (or leaving its `with`) stops it.

    `alloc` maps addresses to wei. `block_time` is in seconds; without it every transaction is
    mined at once. `port` serves other processes on loopback, 0 at a free port; without one py-evm
    stays in this process. `salt` (random by default) keeps genesis hashes apart.
    """
    mark = os.urandom(32) if salt is None else salt
    if kind == "py-evm":
        provider = PyEvmProvider(chain_id, alloc, block_time=block_time, salt=mark)
        if port is None:
            return Chain(name, Web3(provider), on_close=provider.close)
        try:
            server = RpcServer(provider, port)
        except ChainError:
            provider.close()
            raise

        def stop() -> None:
            server.close()
            provider.close()

        return Chain(name, Web3(provider), url=server.url, on_close=stop)
    if kind == "anvil":
        node = Anvil(chain_id, alloc, block_time=block_time, port=port, salt=mark)
        return node.connect(name)
    raise ChainError(f"there is no development chain {kind!r}: choose py-evm or anvil")
