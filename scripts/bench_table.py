"""Measure everything and write `docs/benchmarks.md`.

`python -m scripts.bench_table` writes; `--check` compares the contracts' bytecode with that of the
committed table and measures one deployment again, and fails when either differs.
"""

from __future__ import annotations

import argparse
import sys

from energyshare.bench import capacity, gas, latency, throughput, users
from energyshare.bench.baseline import Comparison, compare
from energyshare.bench.rig import Rig
from energyshare.bench.table import Times, deployment_0, faults, render
from energyshare.contracts import Artifact
from scripts.compile import CONTRACTS, ROOT, compile_folder

PAGE = ROOT / "docs" / "benchmarks.md"
ACCOUNTS = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the committed table is stale")
    if parser.parse_args().check:
        check()
    else:
        write()


def check() -> None:
    """Exit with what is stale, if anything is."""
    page = PAGE.read_text() if PAGE.exists() else ""
    found = faults(page) or faults(page, _first_deployment())
    if found:
        sys.exit(
            f"stale: {PAGE.relative_to(ROOT)}: {'; '.join(found)}; "
            "run `python -m scripts.bench_table` and commit what it writes"
        )


def write() -> None:
    """Measure and write, and exit with the bounds that do not hold."""
    report = gas.measure(accounts=ACCOUNTS, progress=_tell)
    times = Times(
        latency.measure(progress=_tell),
        throughput.measure(progress=_tell),
        users.measure(progress=_tell),
        capacity.measure(progress=_tell),
    )
    page = render(report, _first_deployment(), times, _comparison())
    PAGE.write_text(page)
    broken = report.violations + times.violations
    if broken:
        sys.exit("; ".join(broken))


def _first_deployment() -> dict[str, int]:
    with Rig("py-evm", seed=0, accounts=ACCOUNTS) as rig:
        return deployment_0(gas.sample(rig))


def _comparison() -> Comparison:
    made = compile_folder(CONTRACTS / "mocks")["ProofHarness"]
    harness = Artifact("ProofHarness", made["abi"], made["bytecode"], made["storageLayout"])
    with Rig("py-evm", seed=0, accounts=ACCOUNTS) as rig:
        rig.steady_packet()
        return compare(rig, harness)


def _tell(step: str) -> None:
    print(step, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
