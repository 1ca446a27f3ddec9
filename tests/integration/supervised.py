"""A program for test_supervisor.py: a supervisor over real servers and one HTTP command, as `weir up` builds it.

supervised.py DIRECTORY [SERVER...]   where a server is rabbitmq, mongodb or stubborn (a command deaf to SIGTERM)
"""

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

from weir.local.child import CommandChild, Server
from weir.local.keep import free_port
from weir.local.mongo import MongoServer
from weir.local.rabbit import RabbitServer
from weir.local.supervisor import AlreadyRunning, StartFailed, Supervisor, obeying_signals, sole_owner
from weir.local.web import answers

WEB = """
import http.server, signal, sys
if "deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "broken" in sys.argv: sys.exit("no such rule: welcome")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def command(home: Path, name: str, *words: str) -> CommandChild:
    port = free_port()
    argv = [sys.executable, "-c", WEB, str(port), *words]
    return CommandChild(argv, os.environ, port, home / f"{name}.log", partial(answers, f"http://127.0.0.1:{port}/"))


async def main(home: Path, names: list[str]) -> None:
    known: dict[str, Server] = {
        "rabbitmq": RabbitServer(home / "rabbitmq"),
        "mongodb": MongoServer(home / "mongodb"),
        "stubborn": command(home, "stubborn", "deaf"),
        "broken": command(home, "broken", "broken"),
    }
    supervisor = Supervisor(home / "run.json", "http://localhost:1")
    with sole_owner(home), obeying_signals(supervisor):
        try:
            await supervisor.start({name: known[name] for name in names})
            await supervisor.start({"web": command(home, "web")})
            print("ready", flush=True)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return
        finally:
            await supervisor.stop(grace=10.0)


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
    except (StartFailed, AlreadyRunning) as error:
        sys.exit(str(error))
