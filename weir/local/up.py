"""`weir up`: the whole of Weir on this machine, from one command, at one address."""

import argparse
import asyncio
import ipaddress
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chassis.settings import MIN_TOKEN, load
from contracts.errors import SettingsError
from weir.local import firstrun, plan, servers
from weir.local.child import CommandChild, Server
from weir.local.cores import Cores, keep_one_free
from weir.local.find import ServerMissing
from weir.local.keep import Ports, port_is_free, private_dir, write_private
from weir.local.supervisor import AlreadyRunning, StartFailed, Supervisor, obeying_signals, say, sole_owner
from weir.local.web import answers
from weir.reach import CONNECTIONS


@dataclass(frozen=True)
class Options:
    """What the command line and the runner's own settings ask for."""

    host: str = "127.0.0.1"
    port: int = 8000
    sandbox: bool = True
    data_dir: Path = Path(".weir")
    log_format: str = "console"

    @property
    def local_url(self) -> str:
        """Where this machine itself finds the gateway."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "localhost") else self.host  # noqa: S104  compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def address(self) -> str:
        """The address as people type it."""
        return f"http://localhost:{self.port}" if _is_loopback(self.host) else f"http://{self.host}:{self.port}"


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """The options of a command line; what it leaves open comes from WEIR_HOME, WEIR_PORT and the settings."""
    parser = argparse.ArgumentParser(prog="weir up", description="Run all of Weir on this machine.")
    parser.add_argument(
        "--host", help="address to serve on; anything but the loopback asks for more (default: 127.0.0.1)"
    )
    parser.add_argument("--port", help="port to serve on (default: WEIR_PORT or 8000)")
    parser.add_argument("--no-sandbox", action="store_true", help="leave out the simulated WeChat and the demo account")
    parser.add_argument("--data-dir", help="where everything is kept (default: WEIR_HOME or .weir)")
    parser.add_argument("--log-format", choices=("console", "json"), help="how the processes log (default: console)")
    given = parser.parse_args(argv)
    port = given.port or environ.get("WEIR_PORT") or environ.get("WEIR_HTTP_PORT") or "8000"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise SettingsError(f"the port is {port!r}; --port, WEIR_PORT and WEIR_HTTP_PORT take a number from 1 to 65535")
    return Options(
        host=given.host or environ.get("WEIR_HTTP_HOST") or "127.0.0.1",
        port=int(port),
        sandbox=not given.no_sandbox,
        data_dir=Path(given.data_dir or environ.get("WEIR_HOME") or ".weir").absolute(),
        log_format=given.log_format or environ.get("WEIR_LOG_FORMAT") or "console",
    )


def refuse_exposure(options: Options, environ: Mapping[str, str]) -> None:
    """Raise SettingsError for what must not be reachable from other machines, and for a token that is too short."""
    token = environ.get("WEIR_ADMIN_TOKEN", "")
    if token and len(token) < MIN_TOKEN:
        raise SettingsError(f"WEIR_ADMIN_TOKEN has {len(token)} characters; it must have {MIN_TOKEN} or more")
    if _is_loopback(options.host):
        return
    if options.sandbox:
        raise SettingsError(
            f"--host {options.host} would let other machines use the sandbox, which has no passwords: add --no-sandbox"
        )
    if not token:
        raise SettingsError(
            f"--host {options.host} lets other machines reach /api/: set WEIR_ADMIN_TOKEN to a secret of {MIN_TOKEN}"
            " or more characters of your own"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may lead anywhere


async def up(options: Options, environ: Mapping[str, str]) -> int:
    """Run everything until told to stop; the exit status."""
    refuse_exposure(options, environ)
    load(environ)  # a bad setting is better known now than from five log files
    home = private_dir(options.data_dir)
    cores = keep_one_free()
    with sole_owner(home):
        if not port_is_free(options.port):
            raise SettingsError(f"port {options.port} is in use: choose another with --port or WEIR_PORT")
        supervisor = Supervisor(home / "run.json", options.address)
        with obeying_signals(supervisor):
            try:
                settings = await _start_all(supervisor, options, environ, cores)
                print(_ready_line(options), flush=True)
                if link := await firstrun.setup_link(settings):
                    print(
                        f"The first administrator signs up once, within 24 hours: {options.address}/setup#token={link}",
                        flush=True,
                    )
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return 0
            finally:
                await supervisor.stop()
    return 0


async def _start_all(
    supervisor: Supervisor, options: Options, environ: Mapping[str, str], cores: Cores
) -> Mapping[str, str]:
    """Start every process; the settings that they share."""
    home = options.data_dir
    common = {name: value for name, value in environ.items() if name not in plan.RUNNERS_OWN}
    local: dict[str, Server] = {}
    # Finding may mean installing; meanwhile we listen to signals.
    rabbit = None if environ.get("WEIR_AMQP_URL") else await asyncio.to_thread(servers.rabbit, home / "rabbitmq")
    mongo = None if environ.get("WEIR_MONGODB_URL") else await asyncio.to_thread(servers.mongo, home / "mongodb")
    local |= {"rabbitmq": rabbit} if rabbit else {}
    local |= {"mongodb": mongo} if mongo else {}
    await supervisor.start(local)
    common |= {"WEIR_AMQP_URL": rabbit.url} if rabbit else {}
    common |= {"WEIR_MONGODB_URL": mongo.url} if mongo else {}
    common = _settings(common, options)
    _keep_connections(home, common, options)

    ports = Ports(home / "ports.json")
    parts = [*([plan.SANDBOX] if options.sandbox else []), *plan.WORKERS]
    words = {part.name: str(ports.take(part.name)) for part in parts} | {"home": str(home)}
    if options.sandbox:
        sandbox_url = f"http://127.0.0.1:{words['sandbox']}"
        firstrun.copy_files(Path(common["WEIR_RULES_DIR"]), Path(common["WEIR_TRIAGE_FILE"]))
        await firstrun.register_demo(common, firstrun.demo_account(home), sandbox_url)
    workers = {part.name: _child(part, options, common, words, int(words[part.name]), cores) for part in parts}
    await supervisor.start(workers)
    await supervisor.start({plan.EDGE.name: _child(plan.EDGE, options, common, words, options.port, cores)})
    return common


def _keep_connections(home: Path, common: Mapping[str, str], options: Options) -> None:
    """Tell the other commands where this Weir's servers are."""
    found = {
        "amqp_url": common["WEIR_AMQP_URL"],
        "mongodb_url": common["WEIR_MONGODB_URL"],
        "mongodb_database": common["WEIR_MONGODB_DATABASE"],
        "address": options.local_url,
    }
    write_private(home / CONNECTIONS, json.dumps(found) + "\n")


def _settings(common: Mapping[str, str], options: Options) -> dict[str, str]:
    """The settings every process shares: what the user set, else what the data directory holds."""
    home = options.data_dir
    token = common.get("WEIR_ADMIN_TOKEN")
    if not token:
        token, new = firstrun.admin_token(home)
        if new:
            say(f"the token for /api/, shown this once and kept in {home / 'admin-token'}: {token}")
    defaults = {
        "WEIR_MONGODB_DATABASE": "weir",
        "WEIR_RULES_DIR": str(home / "rules"),
        "WEIR_TRIAGE_FILE": str(home / "triage.yaml"),
        "WEIR_JOURNAL_DIR": str(home / "journal"),
        "PYTHONUNBUFFERED": "1",
    }
    return {**defaults, **common, "WEIR_ADMIN_TOKEN": token, "WEIR_LOG_FORMAT": options.log_format}


def _child(
    part: plan.Part, options: Options, common: Mapping[str, str], words: Mapping[str, str], port: int, cores: Cores
) -> Server:
    edge = part is plan.EDGE
    url = options.local_url if edge else f"http://127.0.0.1:{port}"
    after = None
    if part is plan.SANDBOX:
        callback = f"{options.local_url}/wechat/{firstrun.DEMO}"
        after = partial(firstrun.tell_sandbox, url, callback, firstrun.demo_account(options.data_dir))
    return CommandChild(
        plan.command(part, words),
        plan.environment(part, common, words, port, options.host if edge else "127.0.0.1"),
        port,
        options.data_dir / "logs" / f"{part.name}.log",
        partial(answers, url + part.ready),
        after,
        cores if edge or part is plan.SANDBOX else frozenset(),
    )


def _ready_line(options: Options) -> str:
    phone = "phone /sandbox/, " if options.sandbox else ""
    return f"Weir is ready at {options.address} (console /, {phone}API /api/, health /readyz)"


def main(argv: Sequence[str]) -> int:
    """The command `weir up`; the exit status. Every error that a person can mend is one sentence on standard error."""
    try:
        return asyncio.run(up(parse(argv, os.environ), os.environ))
    except (SettingsError, AlreadyRunning, StartFailed, ServerMissing, RuntimeError) as error:
        say(f"weir up: {error}")
        return 1
