"""Starting and stopping what is measured."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class StartError(Exception):
    """A server did not come up; the text holds what it said."""


@contextlib.contextmanager
def started(
    module: Sequence[str], *, ready: str, within: float, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[int, str]]:
    """Run `python -m <module...>`; yield its pid and the line beginning with `ready`; end it afterwards.

    `environment` stands in for our own where it is given.

    Raises `StartError` when that line has not come after `within` seconds or the process ended before it.
    """
    command = [sys.executable, "-m", *module]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(os.environ if environment is None else environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C reaches the measurement, which then ends its servers in order
    )
    try:
        yield process.pid, _wait_for(process, command, ready, within)
    finally:
        _end(process)


def _wait_for(process: subprocess.Popen[str], command: Sequence[str], ready: str, within: float) -> str:
    assert process.stdout is not None
    found: queue.Queue[str | None] = queue.Queue()
    said: list[str] = []

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if found.empty() and line.startswith(ready):
                found.put(line.rstrip("\n"))
            # A server that logs must not fill its pipe; only the last lines are of interest.
            said.append(line)
            del said[:-40]
        found.put(None)

    threading.Thread(target=listen, daemon=True).start()
    try:
        line = found.get(timeout=within)
        trouble = "it ended before it was ready"
    except queue.Empty:
        line, trouble = None, f"it was not ready within {within:.0f} s"
    if line is not None:
        return line
    raise StartError(f"{' '.join(command)}: {trouble}; it said:\n{''.join(said)}")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
