"""A development chain run by anvil, a process that never outlives this one."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from web3 import Web3

from energyshare.chain.connection import Chain
from energyshare.chain.py_evm import GAS_LIMIT
from energyshare.chain.transport import HttpProvider, request
from energyshare.errors import ChainError

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
START_TIMEOUT = 30.0
"""Seconds that anvil may take to answer its first request."""

KEPT_STATES = 128
"""Blocks whose states stay on disk, as on a pruned node: each is a whole dump, and hours of them fill a disk."""

_POLL = 0.01
_PORT_ATTEMPTS = 3
_GUARDIAN = Path(__file__).with_name("guardian.py")


class Anvil:
    """One anvil process on loopback, with Prague rules, no base fee and the states of the last blocks.

    Use it as a context manager or `stop` it; it also ends when this process does, by any cause.
    """

    def __init__(
        self,
        chain_id: int,
        alloc: Mapping[str, int] | None = None,
        *,
        block_time: float | None = None,
        port: int | None = None,
        salt: bytes = b"",
        gas_limit: int = GAS_LIMIT,
        executable: Path | None = None,
    ) -> None:
        """Start anvil and wait until it answers. Raises ChainError if it cannot.

        `block_time` is in seconds, None mines every transaction at once; `port` None or 0 takes a
        free one; the first 20 bytes of `salt` make the genesis hash unique.
        """
        program = executable or find_anvil()
        self.chain_id = chain_id
        # anvil takes only the coinbase and the time of a genesis file into the genesis header.
        self._coinbase = "0x" + salt[:20].ljust(20, b"\0").hex()
        genesis = _genesis(chain_id, alloc or {}, self._coinbase, gas_limit)
        for attempt in range(_PORT_ATTEMPTS):
            self.port = port or _free_port()
            try:
                self._start(program, genesis, block_time, gas_limit)
                return
            except _PortTaken:
                if port or attempt == _PORT_ATTEMPTS - 1:
                    raise

    @property
    def url(self) -> str:
        """Where the node answers JSON-RPC."""
        return f"http://{HOST}:{self.port}"

    def connect(self, name: str) -> Chain:
        """A Chain on this node; closing it stops the node."""
        provider = HttpProvider(self.url)

        def close() -> None:
            provider.close()
            self.stop()

        return Chain(name, Web3(provider), url=self.url, on_close=close)

    def stop(self) -> None:
        """Kill the node and wait until it is gone. May be called again."""
        for pipe in (self._guardian.stdin, self._guardian.stdout):
            if pipe is not None:
                pipe.close()
        self._guardian.wait()
        self._errors.close()

    def __enter__(self) -> Anvil:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, program: Path, genesis: str, block_time: float | None, gas_limit: int) -> None:
        folder = Path(tempfile.mkdtemp(prefix="energyshare-anvil-"))
        try:
            (folder / "genesis.json").write_text(genesis)
            command = [
                str(program),
                *("--host", HOST, "--port", str(self.port)),
                *("--chain-id", str(self.chain_id), "--hardfork", "prague"),
                *("--init", str(folder / "genesis.json"), "--accounts", "0"),
                *("--gas-limit", str(gas_limit), "--gas-price", "0", "--block-base-fee-per-gas", "0"),
                *("--disable-min-priority-fee", "--disable-default-create2-deployer"),
                *("--order", "fifo", "--cache-path", str(folder), "--no-request-size-limit", "--quiet"),
                *("--max-persisted-states", str(KEPT_STATES), "--no-cors"),
                *(("--block-time", f"{block_time:g}") if block_time else ()),
            ]
            if not _is_free(self.port):
                raise _PortTaken(self.port)
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARDIAN), str(folder), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        try:
            self.pid = self._read_pid()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        logger.info("anvil %d serves chain %d at %s", self.pid, self.chain_id, self.url)

    def _read_pid(self) -> int:
        assert self._guardian.stdout is not None
        line = self._guardian.stdout.readline()
        if not line:
            raise ChainError("anvil could not be started: check that it is executable, or use --chain py-evm")
        return int(line)

    def _wait_until_ready(self) -> None:
        provider = HttpProvider(self.url)
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._guardian.poll() is not None:
                complaint = os.pread(self._errors.fileno(), 2_000, 0).decode(errors="replace")
                if "in use" in complaint:
                    raise _PortTaken(self.port)
                reason = " ".join(complaint.split()) or f"exit status {self._guardian.returncode}"
                raise ChainError(f"anvil stopped at once ({reason}): run it by hand, or use --chain py-evm")
            if _listens(self.port):
                provider.dial()
                genesis = request(provider, "eth_getBlockByNumber", "0x0", False)
                provider.close()
                if genesis["miner"].lower() != self._coinbase:
                    raise _PortTaken(self.port)
                return
            time.sleep(_POLL)
        raise ChainError(f"anvil is silent after {START_TIMEOUT:g} s: run it by hand, or use --chain py-evm")


class _PortTaken(ChainError):
    """Another process listens where anvil should."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} on {HOST} is taken: choose another port, or none for a free one")


def find_anvil() -> Path:
    """The anvil executable: on PATH, else in a node_modules above here. Raises ChainError."""
    on_path = shutil.which("anvil")
    if on_path is not None:
        return Path(on_path)
    for modules in _node_modules():
        # The package's own binary starts faster than the node script in .bin that runs it.
        for candidate in (*modules.glob("@foundry-rs/anvil-*/bin/anvil"), modules / ".bin" / "anvil"):
            if candidate.is_file():
                return candidate
    raise ChainError("anvil is not installed: run `npm ci` in the repository, or use --chain py-evm")


def _node_modules() -> Iterator[Path]:
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            yield folder / "node_modules"


def _genesis(chain_id: int, alloc: Mapping[str, int], coinbase: str, gas_limit: int) -> str:
    return json.dumps(
        {
            "config": {"chainId": chain_id},
            "nonce": "0x0",
            "timestamp": hex(int(time.time())),
            "extraData": "0x",
            "gasLimit": hex(gas_limit),
            "difficulty": "0x0",
            "mixHash": "0x" + "00" * 32,
            "coinbase": coinbase,
            "baseFeePerGas": "0x0",
            "alloc": {address: {"balance": hex(wei)} for address, wei in alloc.items()},
        }
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
