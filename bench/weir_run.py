"""Weir as it is measured: `weir up` in a home of its own, with one account in plain mode and one rule.

Everything that depends on Weir's command line and on the files in its home is in this module.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import account, servers
from bench.stored import Store
from bench.systems import Running

#: Seconds until everything must be up: RabbitMQ takes six of them, more on a first run.
_READY_WITHIN = 120

#: Seconds until the gateway must know an account that was added.
_KNOWN_WITHIN = 30


class Home:
    """A home for `weir up` that lasts for the whole run, so that the store grows from load to load."""

    def __init__(self, directory: Path, rules: int) -> None:
        self._directory = directory
        self._rules = rules
        self._has_account = False

    @contextlib.contextmanager
    def up(self) -> Iterator[Running]:
        """A running Weir that knows the account."""
        _write_rules(self._directory, self._rules)
        port = _free_port()
        module = ["weir", "up", "--port", str(port), "--data-dir", str(self._directory)]
        started = servers.started(module, ready="Weir is ready at", within=_READY_WITHIN, environment=_environment())
        with started as (pid, _), contextlib.closing(Store(_mongodb_url(self._directory))) as store:
            if not self._has_account:
                _add_account(self._directory)
                self._has_account = True
            _wait_until_known(port)
            yield Running(port=port, processes=_processes(self._directory, pid), store=store)


@contextlib.contextmanager
def temporary_home(rules: int = 1) -> Iterator[Home]:
    """A new home, removed afterwards. It lies beside the code, not in a /tmp that might be memory."""
    parent = servers.ROOT / ".cache"
    parent.mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    try:
        yield Home(directory, rules)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _environment() -> dict[str, str]:
    """Ours without any setting of a Weir that may run here: the measurement must never touch that one's data."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}


def _add_account(directory: Path) -> None:
    """Make the account known. Its platform is the sandbox of this home: a late reply must not go to WeChat."""
    sandbox = _run_file(directory)["children"]["sandbox"]["port"]
    command = [sys.executable, "-m", "weir", "accounts", "add", account.NAME, "--appid", account.APPID]
    command += ["--secret", account.SECRET, "--token", account.TOKEN, "--original-id", account.ORIGINAL_ID]
    command += ["--mode", "plain", "--api-base", f"http://127.0.0.1:{sandbox}"]
    done = subprocess.run(
        command,
        cwd=servers.ROOT,
        env={**_environment(), "WEIR_HOME": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode != 0:
        raise servers.StartError(f"`weir accounts add` failed:\n{done.stdout}")


def _wait_until_known(port: int) -> None:
    """Ask as WeChat does when the address is entered on its page, until the account answers."""
    url = f"http://127.0.0.1:{port}/wechat/{account.NAME}?{account.signed_query(time.time())}&echostr=here"
    deadline = time.monotonic() + _KNOWN_WITHIN
    answer = "nothing"
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                answer = response.read().decode()
            if answer == "here":
                return
        except urllib.error.HTTPError as error:
            answer = f"status {error.code}"
        except OSError as error:
            answer = str(error)
        time.sleep(0.1)
    raise servers.StartError(f"Weir does not know its account `{account.NAME}` after {_KNOWN_WITHIN} s: {answer}")


def _write_rules(directory: Path, count: int) -> None:
    """The rule that answers all texts of the load, behind others that answer none of them. JSON is YAML too."""
    rule = {
        "id": "hello",
        "when": {"text": {"exact": list(account.TEXTS)}},
        "reply": {"type": "text", "content": account.REPLY},
    }
    rules = directory / "rules"
    rules.mkdir(exist_ok=True)
    (rules / f"{account.NAME}.yaml").write_text(
        json.dumps({"version": 2, "rules": [*_others(count - 1), rule]}, ensure_ascii=False, indent=2), encoding="utf-8"
    )


def _others(count: int) -> list[dict[str, Any]]:
    """Rules with keywords of each kind that the load's texts do not have."""
    return [
        {
            "id": f"other{number}",
            "when": {
                "text": {
                    "exact": [f"无关{number}"],
                    "prefix": [f"活动{number}号"],
                    "contains": [f"编号{number}的商品", f"sku-{number}-"],
                    "regex": [f"订单{number}\\d+"],
                }
            },
            "reply": {"type": "text", "content": "x"},
        }
        for number in range(count)
    ]


def _run_file(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "run.json").read_text())
    return found


def _processes(directory: Path, runner: int) -> dict[str, int]:
    """Weir's processes by name, as the runner lists them; with the runner itself as `up`."""
    children = _run_file(directory)["children"]
    return {**{name: int(child["pid"]) for name, child in children.items()}, "up": runner}


def _mongodb_url(directory: Path) -> str:
    """The address of the private MongoDB, with its password, as `weir up` notes it for Weir's other commands."""
    found: dict[str, str] = json.loads((directory / "connections.json").read_text())
    return found["mongodb_url"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
