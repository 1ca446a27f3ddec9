"""`python -m sandbox`: runs the simulator until it is told to stop."""

import argparse
import asyncio
import ipaddress
import logging
import signal
import sys
from pathlib import Path

from aiohttp import web

from sandbox.app import create_app
from sandbox.callbacks import REPLY_LIMIT
from sandbox.errors import ControlError
from sandbox.jsontext import NotJsonError, read_json_object
from sandbox.logs import set_up_logs
from sandbox.statefile import StateFileError, load
from sandbox.world import World

log = logging.getLogger("sandbox")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="A simulator of the WeChat platform for Official Accounts: its HTTP API, its callbacks, "
        "a phone page in the browser at /sandbox/ and a control API beside it. See docs/sandbox.md.",
    )
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    p.add_argument("--port", type=int, default=8101, help="port; 0 takes a free one (default: %(default)s)")
    p.add_argument("--accounts", type=Path, metavar="FILE.json", help="accounts to begin with: {name: settings}")
    p.add_argument("--state", type=Path, metavar="FILE", help="keep accounts, followers and inboxes in this file")
    p.add_argument("--reply-limit", type=float, default=REPLY_LIMIT, metavar="SECONDS", help="default: %(default)s")
    p.add_argument("--json-log", action="store_true", help="log lines as JSON")
    p.add_argument(
        "--i-know-this-is-public",
        action="store_true",
        help="allow an address beyond loopback: whoever reaches it can do everything here",
    )
    return p


def main() -> int:
    options = parser().parse_args()
    set_up_logs(as_json=options.json_log)
    if not _is_loopback(options.host) and not options.i_know_this_is_public:
        return _refuse(
            f"--host {options.host} is reachable from other machines, and the sandbox asks nobody for a password. "
            "Use 127.0.0.1, or add --i-know-this-is-public."
        )
    try:
        return asyncio.run(_run(options))
    except (ControlError, StateFileError) as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}")


async def _run(options: argparse.Namespace) -> int:
    world = World()
    if options.state:
        load(world, options.state)
    if options.accounts:
        _read_accounts(world, options.accounts)
    app = create_app(world, reply_limit=options.reply_limit, state=options.state)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Two seconds from SIGTERM to the end. aiohttp spends this time-out twice on a request that does not finish (once
    # waiting, once after cancelling), so it leaves one second for the state file.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, keepalive_timeout=15)
    await runner.setup()
    site = web.TCPSite(runner, options.host, options.port, backlog=1024)
    await site.start()
    world.base_url = _address(runner)
    print(f"sandbox ready: {world.base_url}/sandbox/", flush=True)  # noqa: T201 (the line that says it is ready)
    await stop.wait()
    log.info("stopping")
    await runner.cleanup()
    return 0


def _read_accounts(world: World, path: Path) -> None:
    try:
        accounts = read_json_object(path.read_bytes())
    except OSError as error:
        raise ControlError(f"--accounts {path}: {error.strerror}") from error
    except NotJsonError as error:
        raise ControlError(f"--accounts {path}: {error}") from error
    for name, settings in accounts.items():
        world.put_account(name, settings)


def _address(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse(text: str) -> int:
    print(f"sandbox: {text}", file=sys.stderr)  # noqa: T201 (a command line speaks to its terminal)
    return 2


if __name__ == "__main__":
    sys.exit(main())
