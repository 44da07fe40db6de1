"""Measure the engine of large simulations and write `docs/scale.md` with its figure. Takes some minutes."""

from __future__ import annotations

import sys

from energyshare.bench.simulation import draw, measure, render
from scripts.compile import ROOT

PAGE = ROOT / "docs" / "scale.md"
FIGURE = PAGE.with_suffix(".svg")


def main() -> None:
    """Measure and write, and exit with the bounds that do not hold."""
    report = measure(progress=lambda step: print(step, file=sys.stderr, flush=True))
    draw(report, FIGURE)
    PAGE.write_text(render(report, FIGURE.name))
    if report.violations:
        sys.exit("; ".join(report.violations))


if __name__ == "__main__":
    main()
