"""Run a command for exactly as long as the process that started this one lives.

Started as `python -I -S guardian.py FOLDER COMMAND...` with a pipe as standard input whose other
end only the parent holds. The kernel closes that end however the parent ends, SIGKILL included;
then the command and all it started are killed and FOLDER is removed. It imports nothing of this
package, so that it starts quickly and needs no environment.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading


def main(folder: str, command: list[str]) -> int:
    """Run `command` with this process' standard error, then remove `folder`. Returns its exit status."""
    # The parent decides when to stop; a Ctrl-C in its terminal is the parent's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return run(command)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(command: list[str]) -> int:
    """Run `command` until it ends or standard input does. Returns its exit status."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    print(process.pid, flush=True)

    def kill_when_orphaned() -> None:
        # Not sys.stdin: its lock, held while it waits, would crash the interpreter's shutdown.
        while os.read(0, 1):
            pass
        kill_group(process)

    threading.Thread(target=kill_when_orphaned, daemon=True).start()
    try:
        return process.wait()
    finally:
        kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the command and whatever it started, if anything of it is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of what has ended
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
