"""The ceiling: aiohttp with one route that reads the body and returns the same bytes every time.

No signature, no parsing, no rule, no storage. `--uvloop` runs it on uvloop instead of asyncio's own loop.
"""

import argparse
import asyncio

from aiohttp import web

from bench.account import REPLY
from bench.peers.ready import announce

_ANSWER = (
    "<xml><ToUserName><![CDATA[oBench0000000000000000000001]]></ToUserName>"
    "<FromUserName><![CDATA[gh_be7c40000001]]></FromUserName><CreateTime>1714037059</CreateTime>"
    f"<MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{REPLY}]]></Content></xml>"
).encode()


async def _callback(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=_ANSWER, content_type="application/xml")


async def _serve() -> None:
    app = web.Application()
    app.router.add_post("/wechat/{account}", _callback)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
    await site.start()
    announce(runner.addresses[0][1])
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uvloop", action="store_true", help="run on uvloop")
    if parser.parse_args().uvloop:
        import uvloop  # only this variant needs it

        uvloop.run(_serve())
    else:
        asyncio.run(_serve())


if __name__ == "__main__":
    main()
