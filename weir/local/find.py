"""Where the servers' programs are, and how to get RabbitMQ when there is none."""

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_APT_INSTALL = Path(__file__).with_name("apt-install.sh")
_DEBIAN_RABBITMQ = Path("/usr/lib/rabbitmq/bin")


class ServerMissing(Exception):
    """A server's program is nowhere to be found; the text says what to install."""


def rabbitmq_dir() -> Path | None:
    """The directory of RabbitMQ's own scripts, None when it is not installed.

    Debian's `rabbitmq-server` on PATH is a wrapper that changes to the user `rabbitmq` and its system-wide state, so
    the scripts behind it come first.
    """
    if (_DEBIAN_RABBITMQ / "rabbitmq-server").exists():
        return _DEBIAN_RABBITMQ
    found = shutil.which("rabbitmq-server")
    return Path(found).resolve().parent if found else None


def epmd() -> str | None:
    """Erlang's port mapper, which RabbitMQ needs beside it."""
    found = shutil.which("epmd")
    if found:
        return found
    erl = shutil.which("erl")
    roots = [Path(erl).resolve().parent] if erl else []
    roots += [Path("/usr/lib/erlang/bin"), Path("/usr/lib64/erlang/bin")]
    return next((str(root / "epmd") for root in roots if (root / "epmd").exists()), None)


def mongod() -> str | None:
    """MongoDB's server: the one on PATH, else the one inside the wheel of the `local` dependency group."""
    return shutil.which("mongod") or _mongod_in_wheel()


def _mongod_in_wheel() -> str | None:
    # The package is looked up, never imported: its import starts things of its own.
    spec = importlib.util.find_spec("fiftyone")
    for root in (spec.submodule_search_locations or []) if spec else []:
        program = Path(root) / "db" / "bin" / "mongod"
        if program.exists():
            if not os.access(program, os.X_OK):  # zip archives lose the bit with some installers
                program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
            return str(program)
    return None


def docker() -> str | None:
    """The docker command, None when there is none or its daemon does not answer."""
    found = shutil.which("docker")
    if found is None:
        return None
    try:
        asked = subprocess.run([found, "info"], capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return None
    return found if asked.returncode == 0 else None


def install_rabbitmq(say: Callable[[str], None]) -> bool:
    """Install RabbitMQ from the distribution's packages when that is possible here; whether it is there now."""
    if rabbitmq_dir() and epmd():
        return True
    as_root = _as_root()
    if shutil.which("apt-get") is None or as_root is None:
        return False
    say("RabbitMQ is not installed: installing the package rabbitmq-server with apt; this takes about a minute")
    done = subprocess.run([*as_root, "sh", str(_APT_INSTALL), "rabbitmq-server"], stdout=sys.stderr, check=False)
    if done.returncode == 0 and Path("/run/systemd/system").exists():
        # The private broker is all that was wanted: the machine's own must not come up with the next boot.
        subprocess.run([*as_root, "systemctl", "--quiet", "disable", "rabbitmq-server"], check=False)
    say("RabbitMQ: installed" if done.returncode == 0 else "RabbitMQ: apt could not install it; its reason is above")
    return bool(rabbitmq_dir() and epmd())


def _as_root() -> list[str] | None:
    """What to put before a command to run it as root; None when we may not."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return [sudo, "-n"]
    return None


def main() -> int:
    """`python -m weir.local.find`: see to it that private servers can be started here; the exit status."""
    rabbit, mongo = install_rabbitmq(lambda line: print(line, file=sys.stderr)), mongod()
    if not rabbit:
        print("there is no RabbitMQ here: install rabbitmq-server, with Erlang's epmd", file=sys.stderr)
    if not mongo:
        print("there is no MongoDB here: put mongod on PATH", file=sys.stderr)
    return 0 if rabbit and mongo else 1


if __name__ == "__main__":
    sys.exit(main())
