"""Puts the sandbox together: the world, the pusher, and the three faces it serves over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from sandbox.callbacks import REPLY_LIMIT, RETRY_PAUSE, Pusher
from sandbox.controlaccounts import AccountsControl
from sandbox.controlfollowers import FollowersControl
from sandbox.controljson import answer
from sandbox.controlplatform import PlatformControl
from sandbox.crowd import Crowds
from sandbox.deliver import Post
from sandbox.errors import ControlError
from sandbox.phonepage import phone_routes
from sandbox.platformapi import PlatformApi
from sandbox.statefile import keep_saving, save_changes
from sandbox.world import World

WORLD = web.AppKey("world", World)


def create_app(
    world: World,
    *,
    reply_limit: float = REPLY_LIMIT,
    retry_pause: float = RETRY_PAUSE,
    state: Path | None = None,
) -> web.Application:
    """The sandbox as an aiohttp application.

    `reply_limit` and `retry_pause` (seconds) are the callback's time limit and the pause after a try that failed at
    once; tests make them short. `state` is where the world is saved while it runs.
    """
    app = web.Application(middlewares=[_words_for_errors], client_max_size=1024 * 1024)
    pusher = Pusher(world, reply_limit=reply_limit, retry_pause=retry_pause)
    post = Post(world, pusher)
    crowds = Crowds(world, post)
    followers = FollowersControl(world, post)
    app[WORLD] = world
    app.add_routes(PlatformApi(world).routes())
    app.add_routes(AccountsControl(world, pusher, post).routes())
    app.add_routes(followers.routes())
    app.add_routes(PlatformControl(world, crowds).routes())
    app.add_routes([*phone_routes(world.shelf), web.get("/livez", _alive)])

    async def run(_app: web.Application) -> AsyncIterator[None]:
        await pusher.start()
        saver = asyncio.create_task(keep_saving(world, state)) if state else None
        yield
        await crowds.stop()
        await followers.close()
        await pusher.close()
        if state and saver:
            await saver
            await save_changes(world, state)

    async def stop_waiting(_app: web.Application) -> None:
        world.close()  # long polls answer at once, so that stopping does not wait for them

    app.cleanup_ctx.append(run)
    app.on_shutdown.append(stop_waiting)
    return app


async def _alive(_request: web.Request) -> web.Response:
    return web.Response(text="alive\n")


def _comes_from_elsewhere(request: web.Request) -> bool:
    """Whether another web site in somebody's browser tries to steer the sandbox. Following a link to it is fine."""
    if request.headers.get("Sec-Fetch-Site") != "cross-site" or not request.path.startswith("/sandbox"):
        return False
    return request.method != "GET" or request.headers.get("Sec-Fetch-Mode") != "navigate"


@web.middleware
async def _words_for_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    if _comes_from_elsewhere(request):
        return answer({"error": "requests from other web sites are refused"}, 403)
    try:
        return await handler(request)
    except ControlError as error:
        return answer({"error": str(error)}, error.status)
    except web.HTTPException as error:
        if error.status < 400 or not request.path.startswith("/sandbox"):
            raise
        return answer({"error": f"{request.method} {request.path}: {error.reason}"}, error.status)
