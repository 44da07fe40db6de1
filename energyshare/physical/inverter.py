"""A simulated SunSpec inverter with a storage, as a Modbus TCP server on loopback: for tests and demonstrations.

It has models 1, 701, 704 and 713, obeys `WSet` with `WSetRvrtTms`, and stops by itself when it has nothing left to give
or no room left. Its time may run faster than the clock's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING

from energyshare.physical.device import DeviceError
from energyshare.physical.storage import Storage
from energyshare.physical.sunspec import BASES, END, MARK, MODELS, from_registers, to_registers

if TYPE_CHECKING:
    from pymodbus.constants import ExcCodes

__all__ = ["SimulatedInverter"]

HOST = "127.0.0.1"

LENGTHS = {1: 66, 701: 153, 704: 65, 713: 7}
"""Of the models, in the order of the map, without id and length."""

WSET_SCALE, PERCENT_SCALE = -1, -2
WSET_UNITS = 10
"""A watt, as `WSet` counts."""


class SimulatedInverter:
    """An inverter that answers on `port`. Its storage survives whoever commands it."""

    def __init__(self, storage: Storage, *, speed: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            speed: How much faster its time runs than `clock`.
            clock: Seconds.
        """
        self._storage = storage
        self._speed = speed
        self._clock = clock
        self._began_ms = 0
        """When the set-point took effect, in its own time."""
        self._moved_wh = 0
        """Since then."""
        self._energy_scale = next(scale for scale in range(10) if storage.capacity_wh // 10**scale < END)
        self._starts: dict[int, int] = {}
        self._map = self._initial_map()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="inverter", daemon=True)
        self._started: Future[int] = Future()
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    @property
    def storage(self) -> Storage:
        """Its state now."""
        with self._lock:
            self._advance()
            return self._storage

    def start(self) -> int:
        """Answer. Returns the port. Raises DeviceError."""
        self._thread.start()
        return self._started.result()

    def stop(self) -> None:
        if self._stop is not None:
            loop, event = self._stop
            self._stop = None
            loop.call_soon_threadsafe(event.set)
            self._thread.join()

    def __enter__(self) -> SimulatedInverter:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return self._started.result()

    async def _serve(self) -> None:
        try:
            from pymodbus.server import ModbusTcpServer
            from pymodbus.simulator import DataType, SimData, SimDevice
        except ImportError:
            self._started.set_exception(
                DeviceError("Modbus needs pymodbus, which is not installed: pip install 'energyshare[modbus]'")
            )
            return
        data = SimData(BASES[0], values=list(self._map), datatype=DataType.REGISTERS)
        server = ModbusTcpServer(SimDevice(1, simdata=[data], action=self._access), address=(HOST, 0))
        await server.serve_forever(background=True)
        stop = asyncio.Event()
        self._stop = asyncio.get_running_loop(), stop
        assert isinstance(server.transport, asyncio.Server)
        self._started.set_result(server.transport.sockets[0].getsockname()[1])
        await stop.wait()
        await server.shutdown()  # type: ignore[no-untyped-call]

    async def _access(
        self,
        _function: int,
        start: int,
        address: int,
        _count: int,
        registers: list[int],
        written: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        with self._lock:
            self._advance()
            if written:
                was_on = self._get(704, "WSetEna")
                at = address - start
                self._map[at : at + len(written)] = [int(value) for value in written]
                if self._get(704, "WSetEna") and not was_on:
                    self._began_ms, self._moved_wh = self._now_ms(), 0
            self._show()
            registers[: len(self._map)] = self._map
        return None

    def _now_ms(self) -> int:
        return int(self._clock() * 1000 * self._speed)

    def _advance(self) -> None:
        """Move what the set-point made since it took effect."""
        if not self._get(704, "WSetEna"):
            return
        elapsed_ms = self._now_ms() - self._began_ms
        limit_ms = self._get(704, "WSetRvrtTms") * 1000
        if limit_ms and elapsed_ms >= limit_ms:
            elapsed_ms = limit_ms
            self._set(704, "WSetEna", self._get(704, "WSetEnaRvrt"))
        power = self._get(704, "WSet")
        wanted_wh = abs(power) * elapsed_ms // (3_600_000 * WSET_UNITS) - self._moved_wh
        if power > 0:
            moved_wh = min(wanted_wh, self._storage.deliverable_wh)
            self._storage = self._storage.discharged(moved_wh)
        else:
            moved_wh = min(wanted_wh, self._storage.acceptable_wh)
            self._storage = self._storage.charged(moved_wh)
        self._moved_wh += moved_wh
        self._set(704, "WSetRvrtRem", max(0, limit_ms - elapsed_ms) // 1000)

    def _show(self) -> None:
        storage, unit = self._storage, 10**self._energy_scale
        self._set(701, "TotWhInj", storage.given_out_wh)
        self._set(701, "TotWhAbs", storage.taken_in_wh)
        self._set(713, "WHRtg", storage.capacity_wh // unit)
        self._set(713, "WHAvail", storage.stored_wh // unit)
        self._set(713, "SoC", storage.stored_wh * 10_000 // storage.capacity_wh)

    def _initial_map(self) -> list[int]:
        registers = list(MARK)
        for model, length in LENGTHS.items():
            self._starts[model] = len(registers)
            registers += [model, length] + [0] * length
        registers += [END, 0]
        for model, name, scale in (
            (713, "WHRtg", self._energy_scale),
            (713, "SoC", PERCENT_SCALE),
            (704, "WSet", WSET_SCALE),
        ):
            at = MODELS[model][name].scale
            assert at is not None
            registers[self._starts[model] + at] = scale & 0xFFFF
        return registers

    def _get(self, model: int, name: str) -> int:
        point = MODELS[model][name]
        at = self._starts[model] + point.offset
        return from_registers(self._map[at : at + point.registers], signed=point.signed)

    def _set(self, model: int, name: str, raw: int) -> None:
        point = MODELS[model][name]
        at = self._starts[model] + point.offset
        self._map[at : at + point.registers] = to_registers(raw, point.registers)
