"""Make the extract of grids and profiles in energyshare/simulation/grid/data anew, from simbench and pandapower."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandapower.networks
import simbench

from energyshare.simulation.grid.case import MAX_DAYS, PROFILE_SCALE, STEPS_PER_DAY, Season

DATA = Path(__file__).resolve().parent.parent / "energyshare/simulation/grid/data"

SIMBENCH = {name: f"1-LV-{name}--2-sw" for name in ("rural1", "rural2", "rural3", "semiurb4", "semiurb5", "urban6")}
"""Scenario 2, the farthest future: it has the most photovoltaics and storages."""

FIRST_DAYS = {
    Season.WINTER: "18.01.2016",
    Season.SPRING: "18.04.2016",
    Season.SUMMER: "18.07.2016",
    Season.AUTUMN: "17.10.2016",
}

HOUSEHOLD_UNIT_WH = 10
"""A household uses some 50 Wh in a quarter of an hour, of which the paper's unit of 1,000 Wh would see nothing."""

IEEE33_UNIT_WH = 1_000
IEEE33_PROFILES = ("H0-A", "H0-B", "H0-C", "G1-B", "G3-A", "H0-G", "G4-A", "G6-A")
"""By bus in turn: the case has one load a bus and no time."""
IEEE33_PV_BUSES = (6, 10, 13, 17, 20, 24, 28, 31)
IEEE33_PV_SHARE = 5
"""Photovoltaics there, in times of the bus's load."""
IEEE33_STATIONS = (5, 11, 16, 21, 24, 30)
IEEE33_CAPACITY_WH, IEEE33_POWER_W = 1_000_000, 250_000


def main() -> None:
    warnings.simplefilter("ignore")
    nets = {name: simbench.get_simbench_net(code) for name, code in SIMBENCH.items()}
    for name, net in nets.items():
        write(name, simbench_grid(net, SIMBENCH[name]))
    write("ieee33", ieee33())
    np.savez_compressed(DATA / "profiles.npz", **profiles(nets))


def write(name: str, made: dict[str, Any]) -> None:
    """One branch, user or station a line."""
    listed = {key: made.pop(key) for key in ("branches", "users", "stations")}
    head = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in made.items())
    lists = ",\n".join(
        f' "{key}": [\n' + ",\n".join(f"  {json.dumps(entry)}" for entry in entries) + "\n ]"
        for key, entries in listed.items()
    )
    (DATA / f"{name}.json").write_text(f"{{\n{head},\n{lists}\n}}\n")


def simbench_grid(net: Any, code: str) -> dict[str, Any]:
    """A low-voltage grid below its transformer, whose upper side is the source."""
    (transformer,) = net.trafo.itertuples()
    (source,) = net.ext_grid.itertuples()
    ratio = 1 + transformer.tap_pos * transformer.tap_step_percent / 100
    low_v = transformer.vn_lv_kv * 1e3
    z_base = low_v**2 / (transformer.sn_mva * 1e6)
    r, z = z_base * transformer.vkr_percent / 100, z_base * transformer.vk_percent / 100
    edges = [(transformer.hv_bus, transformer.lv_bus, complex(r, (z**2 - r**2) ** 0.5))]
    for line in net.line.itertuples():
        impedance = complex(line.r_ohm_per_km, line.x_ohm_per_km) * line.length_km / line.parallel
        edges.append((line.from_bus, line.to_bus, impedance))
    node_of, branches = radial(source.bus, edges)
    pv = {sgen.bus: sgen for sgen in net.sgen.itertuples()}
    users = []
    for load in net.load.itertuples():
        own = pv.pop(load.bus, None)
        users.append(
            user(
                node_of[load.bus],
                (round(load.p_mw * 1e6), round(load.q_mvar * 1e6), load.profile),
                (round(own.p_mw * 1e6), own.profile) if own else (0, None),
            )
        )
    assert not pv, "photovoltaics without a user"
    return {
        "source": code,
        "unit_wh": HOUSEHOLD_UNIT_WH,
        "nominal_v": low_v,
        "source_v": source.vm_pu * low_v / ratio,
        "transformers": [node_of[transformer.lv_bus]],
        "iron_w": round(transformer.pfe_kw * 1e3 * (source.vm_pu / ratio) ** 2, 3),
        "branches": branches,
        "users": users,
        "stations": [
            {
                "node": node_of[storage.bus],
                "capacity_wh": round(storage.max_e_mwh * 1e6),
                "power_w": round(storage.sn_mva * 1e6),
            }
            for storage in net.storage.itertuples()
        ],
    }


def ieee33() -> dict[str, Any]:
    """Baran and Wu's 33 buses; photovoltaics, storages and profiles are ours."""
    net = pandapower.networks.case33bw()
    (source,) = net.ext_grid.itertuples()
    lines = net.line[net.line.in_service].itertuples()
    node_of, branches = radial(
        source.bus, [(line.from_bus, line.to_bus, complex(line.r_ohm_per_km, line.x_ohm_per_km)) for line in lines]
    )
    users = []
    for number, load in enumerate(net.load.itertuples()):
        load_w = round(load.p_mw * 1e6)
        pv = (load_w * IEEE33_PV_SHARE, f"PV{1 + number % 8}") if load.bus in IEEE33_PV_BUSES else (0, None)
        profile = IEEE33_PROFILES[number % len(IEEE33_PROFILES)]
        users.append(user(node_of[load.bus], (load_w, round(load.q_mvar * 1e6), profile), pv))
    return {
        "source": "IEEE 33 buses (Baran and Wu 1989)",
        "unit_wh": IEEE33_UNIT_WH,
        "nominal_v": 12_660.0,
        "source_v": 12_660.0,
        "transformers": [],
        "iron_w": 0.0,
        "branches": branches,
        "users": users,
        "stations": [
            {"node": node_of[bus], "capacity_wh": IEEE33_CAPACITY_WH, "power_w": IEEE33_POWER_W}
            for bus in IEEE33_STATIONS
        ],
    }


def user(node: int, load: tuple[int, int, str], pv: tuple[int, str | None]) -> dict[str, Any]:
    load_w, load_var, load_profile = load
    pv_w, pv_profile = pv
    return {
        "node": node,
        "load_w": load_w,
        "load_var": load_var,
        "load_profile": load_profile,
        "pv_w": pv_w,
        "pv_profile": pv_profile,
    }


def radial(source: int, edges: list[tuple[int, int, complex]]) -> tuple[dict[int, int], list[dict[str, Any]]]:
    """Number buses from the source down. Returns the number of each, and the branch to each but the source."""
    neighbours: dict[int, list[tuple[int, complex]]] = {}
    for one, other, impedance in edges:
        neighbours.setdefault(one, []).append((other, impedance))
        neighbours.setdefault(other, []).append((one, impedance))
    node_of = {source: 0}
    branches = []
    for bus in _walk(node_of):
        for other, impedance in neighbours[bus]:
            if other not in node_of:
                node_of[other] = len(node_of)
                branches.append(
                    {"parent": node_of[bus], "r_ohm": round(impedance.real, 9), "x_ohm": round(impedance.imag, 9)}
                )
    assert len(branches) == len(edges), "the grid is meshed or not connected"
    return node_of, branches


def _walk(node_of: dict[int, int]) -> Iterator[int]:
    """Buses in the order of their numbers, those included that are numbered meanwhile."""
    done = 0
    while done < len(node_of):
        yield list(node_of)[done]
        done += 1


def profiles(nets: dict[str, Any]) -> dict[str, np.ndarray[Any, np.dtype[np.int16]]]:
    """A week of each season, one after the other, of every profile in use."""
    columns: dict[str, Any] = {}
    for net in nets.values():
        load, pv = net.profiles["load"], net.profiles["renewables"]
        for name in {*net.load.profile, *(IEEE33_PROFILES if "H0-A_pload" in load else ())}:
            if f"{name}_pload" in load:
                columns[f"{name}_p"], columns[f"{name}_q"] = load[f"{name}_pload"], load[f"{name}_qload"]
        for name in net.sgen.profile:
            columns[name] = pv[name]
    time = net.profiles["load"]["time"]
    starts = [time[time == f"{FIRST_DAYS[season]} 00:00"].index[0] for season in Season]
    rows = np.concatenate([np.arange(start, start + MAX_DAYS * STEPS_PER_DAY) for start in starts])
    kept = {
        name: np.round(columns[name].to_numpy(float)[rows] * PROFILE_SCALE).astype(np.int16) for name in sorted(columns)
    }
    return {**kept, "none": np.zeros(len(rows), np.int16)}


if __name__ == "__main__":
    main()
