"""Control API, part two: acting as a follower and looking at a follower's phone."""

import asyncio
from typing import Any

from aiohttp import web

from sandbox.callbacks import Outcome
from sandbox.controlaccounts import follower_view
from sandbox.controljson import answer, number, query_number, read_object
from sandbox.deliver import Post
from sandbox.errors import ControlError
from sandbox.followers import Follower
from sandbox.inbound import Inbound
from sandbox.world import World

Delivered = tuple[Inbound, Outcome, int | None]

MAX_WAIT = 25.0  # seconds of one long poll
MAX_COUNT = 1000  # messages of one request


class FollowersControl:
    """`/sandbox/followers/...`"""

    def __init__(self, world: World, post: Post) -> None:
        self._world = world
        self._post = post
        self._running: set[asyncio.Task[Any]] = set()

    def routes(self) -> list[web.RouteDef]:
        one = "/sandbox/followers/{openid}"
        return [
            web.get(one, self.get),
            web.post(f"{one}/messages", self.send),
            web.get(f"{one}/inbox", self.inbox),
            web.get(f"{one}/timeline", self.timeline),
        ]

    async def close(self) -> None:
        """Give up the callbacks that nobody waits for."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def get(self, request: web.Request) -> web.Response:
        return answer(follower_view(self._world, self._follower(request)))

    async def send(self, request: web.Request) -> web.Response:
        follower = self._follower(request)
        spec = await read_object(request)
        if not isinstance(spec.get("type"), str):
            raise ControlError('type: say what is sent, for example {"type": "text", "content": "你好"}')
        many = "count" in spec
        count = number(spec, "count", 1, 1, MAX_COUNT)
        spec.pop("count", None)
        tasks = [self._start(follower, spec) for _ in range(count)]
        if request.query.get("wait") == "0":
            await asyncio.sleep(0)  # lets each be accepted or refused
            self._raise_refusal(tasks)
            return answer({"accepted": count}, 202)
        results = [_result(*done) for done in await asyncio.gather(*tasks)]
        return answer({"results": results} if many else results[0])

    async def inbox(self, request: web.Request) -> web.Response:
        return await self._phone(request, own=False)

    async def timeline(self, request: web.Request) -> web.Response:
        return await self._phone(request, own=True)

    async def _phone(self, request: web.Request, *, own: bool) -> web.Response:
        follower = self._follower(request)
        after = int(query_number(request, "after", 0, 0, 2**53))
        wait = query_number(request, "wait", 0.0, 0.0, MAX_WAIT)
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        typing = self._typing(follower)
        while not (messages := follower.after(after, own=own)) and not self._world.closing.is_set():
            left = until - loop.time()
            if left <= 0 or typing != self._typing(follower):
                break
            await self._world.news(follower.openid, left)
        return answer({"messages": messages, "following": follower.following, "typing": self._typing(follower)})

    def _typing(self, follower: Follower) -> bool:
        return self._world.clock.now() < follower.typing_until

    def _follower(self, request: web.Request) -> Follower:
        return self._world.follower(request.match_info["openid"])

    def _start(self, follower: Follower, spec: dict[str, Any]) -> asyncio.Task[Delivered]:
        task = asyncio.create_task(self._post.deliver(follower, spec))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    @staticmethod
    def _raise_refusal(tasks: list[asyncio.Task[Delivered]]) -> None:
        refusals = [error for task in tasks if task.done() and (error := task.exception()) is not None]
        if refusals:
            raise refusals[0]


def _result(inbound: Inbound, outcome: Outcome, seq: int | None) -> dict[str, Any]:
    result = {
        "msgid": inbound.msgid,
        "create_time": inbound.create_time,
        "answer": outcome.answer,
        "tries": outcome.tries,
        "took_ms": outcome.took_ms,
        "seq": seq,
    }
    return {**result, "reason": outcome.reason} if outcome.reason else result
