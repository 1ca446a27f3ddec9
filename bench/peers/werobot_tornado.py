"""The peer: WeRoBot on Tornado, set up as its documentation shows (`werobot.contrib.tornado.make_handler`).

It checks the signature, parses the message and answers in the process. Its session storage, which would
write to SQLite for every message, is off, and so is its log: the fastest it can be.
"""

import asyncio

import tornado.web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from werobot import WeRoBot
from werobot.contrib.tornado import make_handler

from bench.account import NAME, REPLY, TEXTS, TOKEN
from bench.peers.ready import announce


def _robot() -> WeRoBot:
    robot = WeRoBot(token=TOKEN)
    robot.config["SESSION_STORAGE"] = False
    known = frozenset(TEXTS)

    def hello(message: object) -> str | None:
        return REPLY if getattr(message, "content", None) in known else None

    robot.text(hello)
    return robot


async def _serve() -> None:
    application = tornado.web.Application([(f"/wechat/{NAME}", make_handler(_robot()))])
    sockets = bind_sockets(0, "127.0.0.1", backlog=2048)
    HTTPServer(application).add_sockets(sockets)
    announce(sockets[0].getsockname()[1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
