"""Become another program, tied to the life of the process that asked for it.

Run as a script: `python -I -S tether.py PARENT_PID PROGRAM [ARGUMENT...]`. It tells the kernel to kill this process
when its parent dies, then turns into PROGRAM. The bond survives `exec`, so `kill -9` of the parent leaves no orphan. It
is a program of its own, and not a hook between fork and exec, because such a hook can hang in a parent with threads.

Only Linux knows this bond; elsewhere the program is simply started.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_FILES = 65536


def _limit_files() -> None:
    """Keep the limit on open files within reason: Erlang sizes tables by it, and some containers set no bound."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Bind to the parent named in the first argument and become the rest of them."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the bond was made; then there is nobody to work for.
        if os.getppid() != parent:
            sys.exit(1)
    _limit_files()
    try:
        os.execvp(program[0], program)  # noqa: S606  becoming the program is the whole point
    except OSError as error:
        sys.exit(f"cannot start {program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
