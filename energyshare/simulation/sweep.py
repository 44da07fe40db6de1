"""Many runs at once: on the cores of this machine, or on Ray where a machine is not enough. The results are the same.

A run is a function of its parameters and its seed alone, so that where it runs does not matter, and results come back
in the order of the runs, whichever ended first.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import Generic, TypeVar

from energyshare.errors import EnergyShareError

__all__ = ["Backend", "InvalidSweep", "Run", "sweep"]

Parameters = TypeVar("Parameters")
Result = TypeVar("Result")

Task = Callable[[Parameters, int], Result]
"""What is run: a function of a module, since processes are told its name. Parameters and results are pickled."""

Progress = Callable[[int, int], None]
"""Called with the runs done and all of them, whenever one ends."""

_OWN_RAY = {
    # It sends no statistics about itself, and does not hide accelerators, which it would warn of.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Settings of a Ray of the sweep's own, where the user has none."""


class InvalidSweep(EnergyShareError):
    """A sweep that cannot be started."""


class Backend(StrEnum):
    """Where runs are computed."""

    CORES = "cores"
    """Processes of this machine."""
    RAY = "ray"
    """A Ray cluster, or a Ray of this machine's own for as long as the sweep lasts."""


@dataclass(frozen=True, slots=True)
class Run(Generic[Parameters]):
    """One point of a sweep."""

    parameters: Parameters
    seed: int


def sweep(
    task: Task[Parameters, Result],
    runs: Sequence[Run[Parameters]],
    *,
    backend: Backend = Backend.CORES,
    jobs: int | None = None,
    address: str | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """The result of every run, in the order of the runs.

    Args:
        jobs: Runs at a time; all cores if None. A cluster has its own.
        address: Of a Ray cluster that is there already, such as `auto` or `ray://head:10001`.

    Raises:
        InvalidSweep: Fewer than one job, an address without Ray, or no Ray installed. What a run raises comes out of
            here as it is, and the rest is given up.
    """
    if jobs is not None and jobs < 1:
        raise InvalidSweep(f"{jobs} jobs run nothing: ask for at least 1")
    if address is not None and backend is not Backend.RAY:
        raise InvalidSweep(f"an address is of a Ray cluster, and this sweep runs on {backend}: choose ray or leave it")
    workers = jobs or _cores()
    ended = _on_ray(task, runs, workers, address) if backend is Backend.RAY else _on_cores(task, runs, workers)
    results: dict[int, Result] = {}
    with closing(ended):
        for number, result in ended:
            results[number] = result
            if progress is not None:
                progress(len(results), len(runs))
    return [results[number] for number in range(len(runs))]


def _on_cores(
    task: Task[Parameters, Result], runs: Sequence[Run[Parameters]], workers: int
) -> Generator[tuple[int, Result], None, None]:
    """Each result with the number of its run, as they end."""
    if min(workers, len(runs)) <= 1:
        yield from ((number, task(run.parameters, run.seed)) for number, run in enumerate(runs))
        return
    # Not forked: whoever sweeps may have threads, of a broker or of BLAS.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(runs)), context) as pool:
        numbers = {pool.submit(task, run.parameters, run.seed): number for number, run in enumerate(runs)}
        try:
            for future in as_completed(numbers):
                yield numbers[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _on_ray(
    task: Task[Parameters, Result], runs: Sequence[Run[Parameters]], workers: int, address: str | None
) -> Generator[tuple[int, Result], None, None]:
    """Each result with the number of its run, as they end."""
    with _ray(workers, address) as ray:
        remote = ray.remote(num_cpus=1, max_retries=0)(task)
        numbers = {remote.remote(run.parameters, run.seed): number for number, run in enumerate(runs)}
        pending = list(numbers)
        while pending:
            (ended,), pending = ray.wait(pending, num_returns=1)
            yield numbers[ended], ray.get(ended)


@contextmanager
def _ray(workers: int, address: str | None) -> Iterator[ModuleType]:
    """Ray, connected; what the caller had connected to already is used and stays."""
    try:
        import ray
    except ImportError as error:
        raise InvalidSweep("Ray is not installed: pip install 'energyshare[distributed]', or sweep on cores") from error
    if ray.is_initialized():
        yield ray
        return
    if address is None:
        for name, value in _OWN_RAY.items():
            os.environ.setdefault(name, value)
        ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    else:
        ray.init(address, log_to_driver=False)
    try:
        yield ray
    finally:
        ray.shutdown()


def _cores() -> int:
    """Cores that this process may use, which a container may have fewer of than the machine."""
    return len(os.sched_getaffinity(0))
