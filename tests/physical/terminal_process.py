"""A station's terminal in a process of its own, to be killed: `python -m tests.physical.terminal_process {JSON}`.

Its inverter is elsewhere, as it is in life. `stall` makes it stop where a kill must find it: `before` the inverter is
told to begin, or `after` it is done, with nothing noted yet.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from energyshare.physical.device import Transfer
from energyshare.physical.link import BrokerAddress
from energyshare.physical.sunspec import SunSpecStorage
from energyshare.physical.terminal import StationTerminal
from tests.physical.grid import KEYS


def stall() -> None:
    print("stalled", flush=True)
    threading.Event().wait()


class StallsBefore(SunSpecStorage):
    def inject(self, transfer: Transfer) -> None:
        stall()


class StallsAfter(SunSpecStorage):
    def inject(self, transfer: Transfer) -> None:
        super().inject(transfer)
        stall()


KINDS = {"": SunSpecStorage, "before": StallsBefore, "after": StallsAfter}


def main() -> None:
    options = json.loads(sys.argv[1])
    terminal = StationTerminal(
        options["terminal"],
        KINDS[options["stall"]]("127.0.0.1", options["port"], absorb_power_w=10_000, poll_seconds=0.01),
        BrokerAddress.parse(options["url"]),
        account=KEYS[options["terminal"]],
        trusted=options["trusted"],
        journal=Path(options["journal"]),
    )
    terminal.start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
