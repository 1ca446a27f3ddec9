"""Control API, part three: the platform as a whole: clock, faults, all inboxes, the crowd."""

import msgspec
from aiohttp import web

from sandbox.controljson import answer, read_object
from sandbox.crowd import Crowds
from sandbox.errors import ControlError
from sandbox.world import World


class PlatformControl:
    """`/sandbox/clock`, `/sandbox/faults`, `/sandbox/inboxes`, `/sandbox/crowd`."""

    def __init__(self, world: World, crowds: Crowds) -> None:
        self._world = world
        self._crowds = crowds

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/sandbox/clock", self.clock),
            web.post("/sandbox/clock", self.advance),
            web.get("/sandbox/faults", self.faults),
            web.put("/sandbox/faults", self.put_faults),
            web.delete("/sandbox/faults", self.clear_faults),
            web.get("/sandbox/inboxes", self.inboxes),
            web.get("/sandbox/crowd", self.crowd),
            web.post("/sandbox/crowd", self.start_crowd),
            web.delete("/sandbox/crowd", self.stop_crowd),
        ]

    async def clock(self, _request: web.Request) -> web.Response:
        return answer({"now": self._world.clock.now(), "advanced": self._world.clock.offset})

    async def advance(self, request: web.Request) -> web.Response:
        body = await read_object(request, {"advance"})
        seconds = body.get("advance")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise ControlError('advance: a number of seconds, for example {"advance": 172800}')
        try:
            self._world.clock.advance(seconds)
        except ValueError as error:
            raise ControlError(str(error)) from error
        self._world.dirty = True
        return await self.clock(request)

    async def faults(self, _request: web.Request) -> web.Response:
        return answer({"faults": self._world.faults.view()})

    async def put_faults(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        if isinstance(body.get("account"), str):
            self._world.account(body["account"])
        self._world.faults.put(body)
        return await self.faults(request)

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._world.faults.clear(request.query.get("account"))
        return await self.faults(request)

    async def inboxes(self, request: web.Request) -> web.StreamResponse:
        """Every follower's inbox as JSON Lines: one message a line, with its openid."""
        account = self._world.account(request.query.get("account", ""))
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl; charset=utf-8"})
        await response.prepare(request)
        for follower in list(self._world.followers_of(account.name)):
            lines = [msgspec.json.encode({"openid": follower.openid, **m}) for m in follower.after(0, own=False)]
            if lines:
                await response.write(b"\n".join(lines) + b"\n")
        await response.write_eof()
        return response

    async def crowd(self, _request: web.Request) -> web.Response:
        return answer(self._crowds.view())

    async def start_crowd(self, request: web.Request) -> web.Response:
        self._crowds.start(await read_object(request))
        return answer(self._crowds.view(), 202)

    async def stop_crowd(self, _request: web.Request) -> web.Response:
        await self._crowds.stop()
        return answer(self._crowds.view())
