"""A storage behind a SunSpec inverter, over Modbus: what is read, how energy is dosed, and what fails by name."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energyshare.physical.device import DeviceError, Transfer
from energyshare.physical.inverter import SimulatedInverter
from energyshare.physical.messages import MeterReading
from energyshare.physical.storage import Storage
from energyshare.physical.sunspec import MODELS, SunSpecStorage, dose, from_registers, to_registers
from tests.physical.grid import event


class HandClock:
    """Seconds; waiting moves it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def transfer(energy_wh: int, power_w: int = 10_000) -> Transfer:
    return Transfer(energy_wh, power_w, "user-1", event(0))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def inverter(clock: HandClock) -> Iterator[SimulatedInverter]:
    with SimulatedInverter(Storage(40_000, 20_000, 10_000, 9_500, 9_500), clock=clock) as inverter:
        yield inverter


@pytest.fixture
def device(inverter: SimulatedInverter, clock: HandClock) -> Iterator[SunSpecStorage]:
    device = SunSpecStorage("127.0.0.1", inverter.port, absorb_power_w=8_000, poll_seconds=60, wait=clock.wait)
    yield device
    device.close()


def test_meters_and_storage_are_read(device: SunSpecStorage) -> None:
    assert device.read() == MeterReading(0, 0, 40_000, 20_000)
    assert device.idle()


def test_energy_is_injected_and_absorbed_to_the_watt_hour(
    device: SunSpecStorage, inverter: SimulatedInverter, clock: HandClock
) -> None:
    began = clock.now
    device.inject(transfer(1_000))
    assert clock.now - began == 360
    device.absorb(2_000)

    storage = inverter.storage
    assert (storage.given_out_wh, storage.taken_in_wh) == (1_000, 2_000)
    assert device.read() == MeterReading(1_000, 2_000, 40_000, storage.stored_wh)
    assert device.idle()


def test_a_dead_terminal_leaves_no_inverter_running(
    device: SunSpecStorage, inverter: SimulatedInverter, clock: HandClock
) -> None:
    class Died(Exception):
        pass

    def die(_seconds: float) -> None:
        raise Died

    dying = SunSpecStorage("127.0.0.1", inverter.port, absorb_power_w=8_000, wait=die)
    with pytest.raises(Died):
        dying.inject(transfer(1_000))
    dying.close()
    clock.now += 90
    assert (device.read().injected_wh, device.idle()) == (250, False)
    with pytest.raises(DeviceError, match="at something else"):
        device.inject(transfer(1_000))

    clock.now += 10**6
    assert (device.read().injected_wh, device.idle()) == (1_000, True)


def test_an_empty_storage_gives_what_it_has(device: SunSpecStorage, inverter: SimulatedInverter) -> None:
    device.inject(transfer(25_000))

    assert inverter.storage.given_out_wh == device.read().injected_wh == 19_000
    assert device.read().available_wh == 0


def test_a_full_storage_takes_what_fits(device: SunSpecStorage, inverter: SimulatedInverter) -> None:
    device.absorb(40_000)

    assert inverter.storage.acceptable_wh == 0
    assert device.read().available_wh == 40_000


def test_an_inverter_that_does_not_stop_is_told_to(inverter: SimulatedInverter, clock: HandClock) -> None:
    """Its clock stands still, so that its timer never ends."""
    device = SunSpecStorage("127.0.0.1", inverter.port, absorb_power_w=8_000, wait=lambda _seconds: None)
    with pytest.raises(DeviceError, match="did not stop after 360 s"):
        device.inject(transfer(1_000))

    assert device.idle()
    clock.now += 1_000
    assert device.read().injected_wh == 0
    device.close()


def test_a_storage_too_large_for_a_register_has_a_scale_factor(clock: HandClock) -> None:
    with SimulatedInverter(Storage(2_000_000, 1_234_567, 10_000), clock=clock) as inverter:
        device = SunSpecStorage("127.0.0.1", inverter.port, absorb_power_w=8_000, wait=clock.wait, poll_seconds=60)
        reading = device.read()
        device.close()

    assert (reading.rated_wh, reading.available_wh) == (2_000_000, 1_234_500)


@given(st.integers(1, 10**6), st.integers(100, 10**5), st.integers(-2, 1))
def test_a_dose_is_exact_or_little_more_and_not_stronger_than_asked(energy: int, power: int, scale: int) -> None:
    setpoint, seconds = dose(energy, power, scale)
    work = setpoint * seconds * (10**scale if scale >= 0 else 1)
    due = energy * 3600 * (10**-scale if scale < 0 else 1)
    step = 10**scale if scale >= 0 else 1

    assert due <= work < due + seconds * step
    assert setpoint * step < power * (10**-scale if scale < 0 else 1) + step


@given(st.integers(-(2**31), 2**31 - 1))
def test_numbers_survive_registers(number: int) -> None:
    assert from_registers(to_registers(number, 2), signed=True) == number


def test_points_are_where_the_models_have_them() -> None:
    """Lengths as published: 153, 65 and 7 registers after id and length."""
    assert (MODELS[701]["TotWhInj"].offset, MODELS[701]["TotWhInj"].scale) == (19, 120)
    assert (MODELS[704]["WSet"].offset, MODELS[704]["WSetRvrtTms"].offset, MODELS[704]["WSet"].scale) == (24, 31, 55)
    assert (MODELS[713]["WHAvail"].offset, MODELS[713]["WHAvail"].scale) == (3, 7)


def test_what_is_no_inverter_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DeviceError, match=f"no inverter answers at 127.0.0.1:{port}"):
        SunSpecStorage("127.0.0.1", port, absorb_power_w=1).read()


def test_an_inverter_without_a_model_is_named(inverter: SimulatedInverter) -> None:
    at = inverter._starts[713]
    inverter._map[at] = 64_000
    device = SunSpecStorage("127.0.0.1", inverter.port, absorb_power_w=1)
    with pytest.raises(DeviceError, match=r"has no model 713.*it has 1, 701, 704, 64000"):
        device.read()
    device.close()


def test_without_pymodbus_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pymodbus.client", None)
    with pytest.raises(DeviceError, match=r"pip install 'energyshare\[modbus\]'"):
        SunSpecStorage("127.0.0.1", absorb_power_w=1)
