"""A storage behind a SunSpec inverter, over Modbus TCP.

Read are models 713 (DERStorageCapacity: `WHRtg`, `WHAvail`) and 701 (DERMeasureAC: `TotWhInj`, `TotWhAbs`); commanded
is model 704 (DERCtlAC). Energy is dosed as power for a time: `WSet`, positive to inject and negative to absorb, with
`WSetRvrtTms`, after which the inverter goes back to nothing by itself (`WSetEnaRvrt` and `WSetRvrt` are zero). So an
inverter never runs on because its terminal died. Points and offsets are those of the SunSpec models as published for
IEEE 1547-2018; offsets count from a model's first register, its id.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from energyshare.physical.device import DeviceError, Transfer
from energyshare.physical.messages import MeterReading

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient

__all__ = ["SunSpecStorage"]

BASES = (40_000, 0, 50_000)
"""Where a map may begin."""

MARK = [0x5375, 0x6E53]
"""`SunS`."""

END = 0xFFFF

WATTS = 1
"""Of `WSetMod`: the set-point is in watts."""


class Point(NamedTuple):
    """A field of a model."""

    offset: int
    registers: int = 1
    scale: int | None = None
    """The offset of its scale factor."""
    signed: bool = False


MODELS: dict[int, dict[str, Point]] = {
    701: {"TotWhInj": Point(19, 4, scale=120), "TotWhAbs": Point(23, 4, scale=120)},
    704: {
        "WSetEna": Point(22),
        "WSetMod": Point(23),
        "WSet": Point(24, 2, scale=55, signed=True),
        "WSetRvrt": Point(26, 2, scale=55, signed=True),
        "WSetEnaRvrt": Point(30),
        "WSetRvrtTms": Point(31, 2),
        "WSetRvrtRem": Point(33, 2),
    },
    713: {"WHRtg": Point(2, scale=7), "WHAvail": Point(3, scale=7), "SoC": Point(4, scale=8)},
}


def to_registers(value: int, count: int) -> list[int]:
    """A number as registers, the high one first."""
    data = (value & (1 << 16 * count) - 1).to_bytes(2 * count)
    return [int.from_bytes(data[at : at + 2]) for at in range(0, 2 * count, 2)]


def from_registers(registers: list[int], *, signed: bool = False) -> int:
    """A number from registers, the high one first."""
    return int.from_bytes(b"".join(register.to_bytes(2) for register in registers), signed=signed)


def _power(exponent: int) -> int:
    return int(10**exponent)


def dose(energy_wh: int, power_w: int, scale: int) -> tuple[int, int]:
    """What set-point (in units of 10^scale W) for how many seconds makes `energy_wh`, at `power_w` or little less.

    Exact where a time within a tenth more than the shortest allows it, else rounded up by less than one unit.
    """
    work = energy_wh * 3600 * _power(max(0, -scale))
    step = _power(max(0, scale))
    shortest = -(-energy_wh * 3600 // power_w)
    for seconds in range(shortest, shortest + shortest // 10 + 1):
        if work % (seconds * step) == 0:
            return work // (seconds * step), seconds
    return -(-work // (shortest * step)), shortest


class SunSpecStorage:
    """A storage's device over Modbus TCP. It may be shared by threads; one transfer runs at a time."""

    def __init__(
        self,
        host: str,
        port: int = 502,
        *,
        unit: int = 1,
        absorb_power_w: int,
        poll_seconds: float = 1.0,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            unit: Of Modbus.
            absorb_power_w: What it charges with.
            poll_seconds: How often it is asked whether it is done.

        Raises:
            DeviceError: pymodbus is not installed.
        """
        try:
            from pymodbus.client import ModbusTcpClient
        except ImportError as error:
            raise DeviceError(
                "Modbus needs pymodbus, which is not installed: pip install 'energyshare[modbus]'"
            ) from error
        self.address = f"{host}:{port}"
        self._client: ModbusTcpClient = ModbusTcpClient(host, port=port, timeout=3, retries=1)
        self._unit = unit
        self._absorb_power_w = absorb_power_w
        self._poll_seconds = poll_seconds
        self._wait = wait
        self._models: dict[int, int] = {}
        """By id, where they begin."""
        self._scales: dict[tuple[int, str], int] = {}
        self._asking = threading.RLock()
        self._moving = threading.Lock()

    def read(self) -> MeterReading:
        return MeterReading(
            self._value(701, "TotWhInj"),
            self._value(701, "TotWhAbs"),
            self._value(713, "WHRtg"),
            self._value(713, "WHAvail"),
        )

    def idle(self) -> bool:
        return self._value(704, "WSetEna") == 0

    def inject(self, transfer: Transfer) -> None:
        self._move(transfer.energy_wh, transfer.power_w, 1)

    def absorb(self, energy_wh: int) -> None:
        self._move(energy_wh, self._absorb_power_w, -1)

    def watch(self, changed: Callable[[], None]) -> None:
        """An inverter does not tell; terminals look by themselves."""

    def close(self) -> None:
        with self._asking:
            self._client.close()  # type: ignore[no-untyped-call]

    def _move(self, energy_wh: int, power_w: int, sign: int) -> None:
        if energy_wh == 0:
            return
        with self._moving:
            if not self.idle():
                raise DeviceError(f"the inverter at {self.address} is at something else: wait until it is done")
            power, seconds = dose(energy_wh, power_w, self._scale(704, "WSet"))
            self._write(704, "WSetMod", WATTS)
            self._write(704, "WSet", sign * power)
            self._write(704, "WSetRvrt", 0)
            self._write(704, "WSetEnaRvrt", 0)
            self._write(704, "WSetRvrtTms", seconds)
            self._write(704, "WSetEna", 1)
            patience = 2 * seconds + 10 * self._poll_seconds
            while not self.idle():
                if patience < 0:
                    self._write(704, "WSetEna", 0)
                    raise DeviceError(
                        f"the inverter at {self.address} did not stop after {seconds} s and was told to:"
                        " see whether it honours WSetRvrtTms"
                    )
                self._wait(self._poll_seconds)
                patience -= self._poll_seconds

    def _value(self, model: int, name: str) -> int:
        """In its unit, rounded down."""
        point = MODELS[model][name]
        raw = from_registers(self._registers(self._start(model) + point.offset, point.registers), signed=point.signed)
        scale = self._scale(model, name)
        return raw * _power(scale) if scale >= 0 else raw // _power(-scale)

    def _scale(self, model: int, name: str) -> int:
        """Scale factors do not change."""
        scale = self._scales.get((model, name))
        if scale is None:
            offset = MODELS[model][name].scale
            registers = [0] if offset is None else self._registers(self._start(model) + offset, 1)
            scale = self._scales[model, name] = from_registers(registers, signed=True)
        return scale

    def _write(self, model: int, name: str, raw: int) -> None:
        point = MODELS[model][name]
        self._ask("write_registers", self._start(model) + point.offset, to_registers(raw, point.registers))

    def _registers(self, address: int, count: int) -> list[int]:
        registers: list[int] = self._ask("read_holding_registers", address, count=count).registers
        return registers

    def _start(self, model: int) -> int:
        """Where a model begins, found by walking the map once."""
        with self._asking:
            if not self._models:
                self._models = self._discover()
            return self._models[model]

    def _discover(self) -> dict[int, int]:
        base = next((base for base in BASES if self._has_mark(base)), None)
        if base is None:
            raise DeviceError(f"what answers at {self.address} is no SunSpec device: see to its address and unit")
        found: dict[int, int] = {}
        at = base + len(MARK)
        while (model := self._registers(at, 1)[0]) != END:
            found.setdefault(model, at)
            at += 2 + self._registers(at + 1, 1)[0]
        missing = [str(model) for model in MODELS if model not in found]
        if missing:
            raise DeviceError(
                f"the SunSpec device at {self.address} has no model {', '.join(missing)}, which storages need:"
                f" it has {', '.join(map(str, found))}"
            )
        return found

    def _has_mark(self, base: int) -> bool:
        try:
            return self._registers(base, len(MARK)) == MARK
        except _Refused:
            return False

    def _ask(self, request: str, *args: Any, **keywords: Any) -> Any:
        from pymodbus.exceptions import ModbusException

        with self._asking:
            try:
                if not self._client.connected and not self._client.connect():  # type: ignore[no-untyped-call]
                    raise DeviceError(f"no inverter answers at {self.address}: is it on, and the address right?")
                answer = getattr(self._client, request)(*args, **keywords, device_id=self._unit)
            except (ModbusException, OSError) as error:
                self._client.close()  # type: ignore[no-untyped-call]
                raise DeviceError(f"the inverter at {self.address} does not answer: {error}") from error
        if answer.isError():
            raise _Refused(f"the inverter at {self.address} refuses {request} at register {args[0]}: {answer}")
        return answer


class _Refused(DeviceError):
    """The device answered with a Modbus exception."""
