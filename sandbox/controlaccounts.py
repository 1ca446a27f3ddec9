"""Control API, part one: accounts, their media and their followers."""

from typing import Any

import msgspec
from aiohttp import web

from sandbox.accounts import Account
from sandbox.callbacks import Pusher
from sandbox.controljson import answer, flag, number, query_number, read_object, text
from sandbox.deliver import Post
from sandbox.errors import ControlError
from sandbox.followers import Follower
from sandbox.world import World, public_view

MAX_FOLLOWERS_AT_ONCE = 100_000


class AccountsControl:
    """`/sandbox/accounts/...`"""

    def __init__(self, world: World, pusher: Pusher, post: Post) -> None:
        self._world = world
        self._pusher = pusher
        self._post = post

    def routes(self) -> list[web.RouteDef]:
        one = "/sandbox/accounts/{account}"
        return [
            web.get("/sandbox/accounts", self.list_all),
            web.put(one, self.put),
            web.get(one, self.get),
            web.post(f"{one}/verify", self.verify),
            web.post(f"{one}/media", self.add_media),
            web.post(f"{one}/followers", self.add_followers),
            web.get(f"{one}/followers", self.list_followers),
        ]

    async def list_all(self, _request: web.Request) -> web.Response:
        return answer({"accounts": [self._view(account) for account in self._world.accounts.values()]})

    async def put(self, request: web.Request) -> web.Response:
        name = request.match_info["account"]
        account = self._world.put_account(name, await read_object(request))
        return answer(self._view(account))

    async def get(self, request: web.Request) -> web.Response:
        return answer(self._view(self._account(request)))

    async def verify(self, request: web.Request) -> web.Response:
        return answer(await self._pusher.verify(self._account(request)))

    async def add_media(self, request: web.Request) -> web.Response:
        account, body = self._account(request), await read_object(request, {"type", "media_id", "permanent"})
        kind = text(body, "type", "image")
        if kind not in {"image", "voice", "video", "thumb", "news"}:
            raise ControlError(f"type: {kind!r} is no kind of media; known are image, voice, video, thumb, news")
        media_id = account.new_media(
            kind, self._world.clock.now(), text(body, "media_id", "") or None, permanent=flag(body, "permanent", False)
        )
        self._world.dirty = True
        return answer({"media_id": media_id, "type": kind}, 201)

    async def add_followers(self, request: web.Request) -> web.Response:
        account = self._account(request)
        body = await read_object(request, {"nickname", "openid", "subscribe", "scene", "announce", "count"})
        subscribe, announce = flag(body, "subscribe", True), flag(body, "announce", False)
        scene = text(body, "scene", "")
        if "count" in body:
            if announce or "openid" in body or "nickname" in body:
                raise ControlError("count goes with subscribe and scene only")
            count = number(body, "count", 1, 1, MAX_FOLLOWERS_AT_ONCE)
            made = [self._world.new_follower(account, subscribe=subscribe, scene=scene) for _ in range(count)]
            return answer({"openids": [follower.openid for follower in made]}, 201)
        follower = self._world.new_follower(
            account,
            nickname=text(body, "nickname", ""),
            openid=text(body, "openid", "") or None,
            subscribe=subscribe and not announce,
            scene=scene,
        )
        if announce:
            await self._post.deliver(follower, {"type": "event", "event": "subscribe", "scene": scene})
        return answer({"openid": follower.openid}, 201)

    async def list_followers(self, request: web.Request) -> web.Response:
        """The account's followers, oldest first; `limit` gives only the newest so many."""
        account = self._account(request)
        everybody = list(self._world.followers_of(account.name))
        limit = int(query_number(request, "limit", MAX_FOLLOWERS_AT_ONCE, 1, MAX_FOLLOWERS_AT_ONCE))
        followers = [follower_view(self._world, follower) for follower in everybody[-limit:]]
        return answer({"followers": followers, "total": len(everybody)})

    def _account(self, request: web.Request) -> Account:
        return self._world.account(request.match_info["account"])

    def _view(self, account: Account) -> dict[str, Any]:
        enabled = self._world.faults.for_account(account.name).faults.mark_fail
        paused = account.mark_fail.paused_until
        return {
            **public_view(account),
            "tokens_alive": account.tokens.alive(self._world.clock.now()),
            "followers": sum(1 for _ in self._world.followers_of(account.name)),
            "mark_fail": {
                "enabled": enabled,
                "failures_in_a_row": account.mark_fail.in_a_row,
                "paused_until": paused if paused > self._world.clock.now() else None,
            },
        }


def follower_view(world: World, follower: Follower) -> dict[str, Any]:
    """A follower's state, with what may still be sent to them."""
    now = world.clock.now()
    allowance = follower.allowance
    windows = {
        name: msgspec.to_builtins(window)
        for name, window in (("message", allowance.message), ("act", allowance.act))
        if window is not None and now < window.closes_at
    }
    return {
        "openid": follower.openid,
        "account": follower.account,
        "nickname": follower.nickname,
        "following": follower.following,
        "subscribe_time": follower.subscribe_time,
        "scene": follower.scene,
        "windows": windows,
        "typing": now < follower.typing_until,
        "last_seq": follower.seq,
    }
