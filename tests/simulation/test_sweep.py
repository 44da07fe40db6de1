"""Sweeps: the same numbers wherever they are computed."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from energyshare.simulation.sweep import Backend, InvalidSweep, Run, sweep


def drawn_mean(scale: float, seed: int) -> tuple[int, float, int]:
    """A run whose result shows its parameters, its seed and every bit of its arithmetic."""
    return seed, float(np.random.default_rng(seed).normal(scale, 1.0, 1_000).mean()), os.getpid()


def refuse(limit: int, seed: int) -> int:
    if seed >= limit:
        raise InvalidSweep(f"seed {seed} is refused: stay below {limit}")
    return seed


RUNS = [Run(parameters=float(scale), seed=seed) for scale in (1, 10) for seed in range(4)]


def test_cores_and_this_process_give_the_same_numbers_in_the_order_of_the_runs():
    here = sweep(drawn_mean, RUNS, jobs=1)
    cores = sweep(drawn_mean, RUNS, jobs=2)
    assert [result[:2] for result in cores] == [result[:2] for result in here]
    assert [seed for seed, _, _ in here] == [run.seed for run in RUNS]
    assert {process for _, _, process in here} == {os.getpid()}
    assert os.getpid() not in {process for _, _, process in cores}


def test_ray_and_cores_give_the_same_numbers():
    cores = sweep(drawn_mean, RUNS, jobs=1)
    # In a process of its own: Ray forgets the processes that it ends, which pytest would take for a leak of ours.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        ray = apart.submit(sweep, drawn_mean, RUNS, jobs=2, backend=Backend.RAY).result()
    assert [result[:2] for result in ray] == [result[:2] for result in cores]
    assert os.getpid() not in {process for _, _, process in ray}


def test_progress_counts_every_run():
    seen: list[tuple[int, int]] = []
    sweep(drawn_mean, RUNS, jobs=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, len(RUNS)) for done in range(1, len(RUNS) + 1)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_run_raises_comes_out(jobs: int):
    with pytest.raises(InvalidSweep, match="seed 3 is refused: stay below 3"):
        sweep(refuse, [Run(3, seed) for seed in range(6)], jobs=jobs)


def test_no_runs_are_no_results():
    assert sweep(drawn_mean, []) == []


def test_fewer_than_one_job_is_refused():
    with pytest.raises(InvalidSweep, match="ask for at least 1"):
        sweep(drawn_mean, RUNS, jobs=0)


def test_an_address_without_ray_is_refused():
    with pytest.raises(InvalidSweep, match="an address is of a Ray cluster"):
        sweep(drawn_mean, RUNS, address="auto")
