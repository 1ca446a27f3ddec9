"""The systems that are measured, each as something that can be started."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bench import results, servers
from bench.stored import Store


@dataclass(frozen=True)
class Running:
    """A system that takes callbacks at http://127.0.0.1:`port`/wechat/bench."""

    port: int
    processes: Mapping[str, int]  # name to pid
    store: Store | None = None  # where what it accepted must be found afterwards


Starter = Callable[[], AbstractContextManager[Running]]


def peer(name: str, *arguments: str) -> Starter:
    """One of the servers of `bench.peers`."""

    @contextlib.contextmanager
    def start() -> Iterator[Running]:
        module = [f"bench.peers.{name}", *arguments]
        with servers.started(module, ready="ready ", within=20) as (pid, line):
            yield Running(port=int(line.split()[1]), processes={name: pid})

    return start


PEERS: Mapping[str, Starter] = {
    results.AIOHTTP: peer("aiohttp_bare"),
    results.AIOHTTP_UVLOOP: peer("aiohttp_bare", "--uvloop"),
    results.WEROBOT: peer("werobot_tornado"),
}

#: What `--only` takes: a name stands for these systems, in the order in which they are measured.
NAMES: Mapping[str, tuple[str, ...]] = {
    "aiohttp": (results.AIOHTTP, results.AIOHTTP_UVLOOP),
    "werobot": (results.WEROBOT,),
    "weir": (results.WEIR,),
}
