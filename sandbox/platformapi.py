"""The platform's HTTP API: WeChat's paths, JSON shapes and errcodes, always with HTTP status 200."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from aiohttp import web

from sandbox.accounts import Account, Counters
from sandbox.customsend import read_custom
from sandbox.errors import ApiError
from sandbox.faults import Dice
from sandbox.followers import Follower
from sandbox.jsontext import NotJsonError, read_json_object
from sandbox.quotas import FORCE_REFRESH
from sandbox.tokens import looks_like_a_token
from sandbox.uploads import MAX_BODY, File, check, read_form, sniff
from sandbox.world import World

TYPING_AFTER_CONTACT = 30  # seconds since either side last wrote
TYPING_LASTS = 15  # seconds

MOST = 1024 * 1024

Answer = dict[str, Any]
OK: Answer = {"errcode": 0, "errmsg": "ok"}


class Call(msgspec.Struct):
    """One API request, read."""

    account: Account
    query: Mapping[str, str]
    raw: bytes
    remote: str | None
    content_type: str = ""

    def body(self) -> dict[str, Any]:
        """The JSON object sent. Raises ApiError 47001 when it is not one."""
        return _json_object(self.raw)


class Api(msgspec.Struct, frozen=True):
    name: str  # as quotas and faults name it
    path: str
    method: Literal["GET", "POST"]
    run: Callable[[Call], Answer | File]
    by_secret: bool = False  # authenticated by appid and secret instead of a token
    most: int = MOST  # bytes of the body


class PlatformApi:
    """Serves `/cgi-bin/`. Every call changes the world within one step of the event loop, so limits hold exactly."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.apis = (
            Api("token", "/cgi-bin/token", "GET", self._token, by_secret=True),
            Api("stable_token", "/cgi-bin/stable_token", "POST", self._stable_token, by_secret=True),
            Api("custom/send", "/cgi-bin/message/custom/send", "POST", self._send),
            Api("custom/typing", "/cgi-bin/message/custom/typing", "POST", self._typing),
            Api("media/upload", "/cgi-bin/media/upload", "POST", self._upload, most=MAX_BODY),
            Api("media/get", "/cgi-bin/media/get", "GET", self._media),
            Api("user/info", "/cgi-bin/user/info", "GET", self._user_info),
            Api("getcallbackip", "/cgi-bin/getcallbackip", "GET", self._callback_ip),
            Api("clear_quota", "/cgi-bin/clear_quota", "POST", self._clear_quota),
        )

    def routes(self) -> list[web.RouteDef]:
        known = [web.route("*", api.path, self._handler(api)) for api in self.apis]
        return [*known, web.route("*", "/cgi-bin/{rest:.*}", _no_such_api)]

    def _handler(self, api: Api) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, api)

        return handle

    async def _serve(self, request: web.Request, api: Api) -> web.StreamResponse:
        try:
            raw = await request.clone(client_max_size=api.most).read()
        except web.HTTPRequestEntityTooLarge:
            return _json(ApiError(45001 if api.name == "media/upload" else 47001).answer())
        try:
            account = self._caller(request, api, raw)
        except ApiError as error:
            return _json(error.answer())
        dice = self._world.faults.for_account(account.name)
        if latency := dice.latency():
            await asyncio.sleep(latency)
        if dice.cut_before(api.name):
            return _cut(request)
        answer = self._run(
            api, Call(account, request.query, raw, request.remote, request.headers.get("Content-Type", "")), dice
        )
        return (
            _cut(request) if dice.cut_after(api.name) else _json(answer) if isinstance(answer, dict) else _file(answer)
        )

    def _run(self, api: Api, call: Call, dice: Dice) -> Answer | File:
        account, now = call.account, self._world.clock.now()
        counters = account.counters
        counters.api_calls[api.name] = counters.api_calls.get(api.name, 0) + 1
        self._world.dirty = True
        try:
            if api.name != "clear_quota":
                account.usage.spend(api.name, account.config.quotas, now)
            injected = dice.errcode(api.name)
            return api.run(call) if injected is None else _refused(counters, api, ApiError(injected))
        except ApiError as error:
            return _refused(counters, api, error)

    def _caller(self, request: web.Request, api: Api, raw: bytes) -> Account:
        if request.method != api.method:
            raise ApiError(43001 if api.method == "GET" else 43002)
        return self._by_secret(request, raw) if api.by_secret else self._by_token(request)

    def _by_token(self, request: web.Request) -> Account:
        token = request.query.get("access_token", "")
        if not token:
            raise ApiError(41001)
        if not looks_like_a_token(token):
            raise ApiError(40014)
        account = self._world.by_token(token)
        if account is None:
            raise ApiError(40001)
        account.tokens.check(token, self._world.clock.now())
        return account

    def _by_secret(self, request: web.Request, raw: bytes) -> Account:
        given: Mapping[str, Any] = request.query if request.method == "GET" else _json_object(raw)
        if given.get("grant_type") != "client_credential":
            raise ApiError(40002)
        appid, secret = given.get("appid"), given.get("secret")
        if not appid:
            raise ApiError(41002)
        if not secret:
            raise ApiError(41004)
        account = self._world.by_appid(str(appid))
        if account is None:
            raise ApiError(40013)
        if secret != account.config.secret:
            raise ApiError(40125)
        if not account.allows_ip(request.remote):
            raise ApiError(40164, f"invalid ip {request.remote}")
        return account

    def _token(self, call: Call) -> Answer:
        call.account.counters.token_fetches += 1
        value, lifetime = call.account.tokens.issue_classic(self._world.clock.now())
        return {"access_token": value, "expires_in": lifetime}

    def _stable_token(self, call: Call) -> Answer:
        account, now = call.account, self._world.clock.now()
        force = call.body().get("force_refresh", False)
        if not isinstance(force, bool):
            raise ApiError(47001, "force_refresh is true or false")
        if force:
            account.usage.spend(FORCE_REFRESH, account.config.quotas, now)
        account.counters.token_fetches += 1
        value, lifetime = account.tokens.issue_stable(now, force=force)
        return {"access_token": value, "expires_in": lifetime}

    def _send(self, call: Call) -> Answer:
        account, now = call.account, self._world.clock.now()
        if not account.config.may_send:
            raise ApiError(48001)
        body = call.body()
        follower = self._follower(account, body.get("touser"))
        entry = read_custom(account, body, now)
        if not follower.following:
            raise ApiError(45015)
        follower.allowance.spend(now)
        follower.last_contact = now
        follower.typing_until = 0.0
        self._world.show(follower, {"via": "custom", **entry})
        return OK

    def _typing(self, call: Call) -> Answer:
        account, now = call.account, self._world.clock.now()
        if not account.config.may_send:
            raise ApiError(48001)
        body = call.body()
        follower = self._follower(account, body.get("touser"))
        command = body.get("command")
        if command not in {"Typing", "CancelTyping"}:
            raise ApiError(45072)
        if command == "CancelTyping":
            follower.typing_until = 0.0
            self._world.wake((follower.openid,))
            return OK
        if not follower.following:
            raise ApiError(45015)
        follower.allowance.usable(now)
        if now - follower.last_contact > TYPING_AFTER_CONTACT:
            raise ApiError(45080)
        if now < follower.typing_until:
            raise ApiError(45081)
        follower.typing_until = now + TYPING_LASTS
        self._world.wake((follower.openid,))
        return OK

    def _upload(self, call: Call) -> Answer:
        account, now = call.account, self._world.clock.now()
        if not account.config.may_send:
            raise ApiError(48001)
        kind = call.query.get("type", "")
        filename, content = read_form(call.raw, call.content_type, "media")
        content_type = check(kind, content)
        media_id = account.new_media(kind, now)
        self._world.shelf.put(media_id, File(content, content_type, filename))
        # As on the platform, a thumb's id comes under another name.
        return {"type": kind, "thumb_media_id" if kind == "thumb" else "media_id": media_id, "created_at": int(now)}

    def _media(self, call: Call) -> Answer | File:
        media_id = call.query.get("media_id", "")
        file = self._world.shelf.get(media_id)
        if file is None or not call.account.has_media(media_id, self._world.clock.now()):
            raise ApiError(40007)
        if sniff(file.content) == "video/mp4":  # a video is not handed out itself
            return {"video_url": f"{self._world.base_url}/sandbox/media/{media_id}"}
        return file

    def _user_info(self, call: Call) -> Answer:
        if not call.account.config.may_send:
            raise ApiError(48001)
        follower = self._follower(call.account, call.query.get("openid"))
        if not follower.following:
            return {"subscribe": 0, "openid": follower.openid, "tagid_list": []}
        return {
            "subscribe": 1,
            "openid": follower.openid,
            # The platform gives no nickname, sex or picture any more.
            "language": "zh_CN",
            "subscribe_time": follower.subscribe_time,
            "remark": "",
            "groupid": 0,
            "tagid_list": [],
            "subscribe_scene": "ADD_SCENE_QR_CODE" if follower.scene else "ADD_SCENE_SEARCH",
            "qr_scene": int(follower.scene) if follower.scene.isdecimal() else 0,
            "qr_scene_str": "" if follower.scene.isdecimal() else follower.scene,
        }

    def _callback_ip(self, _call: Call) -> Answer:
        return {"ip_list": ["127.0.0.1"]}

    def _clear_quota(self, call: Call) -> Answer:
        if call.body().get("appid") != call.account.config.appid:
            raise ApiError(40013)
        call.account.usage.clear(self._world.clock.now())
        return OK

    def _follower(self, account: Account, openid: object) -> Follower:
        follower = self._world.followers.get(openid) if isinstance(openid, str) else None
        if follower is None or follower.account != account.name:
            raise ApiError(40003)
        return follower


def _refused(counters: Counters, api: Api, error: ApiError) -> Answer:
    key = f"{api.name} {error.errcode}"
    counters.api_errors[key] = counters.api_errors.get(key, 0) + 1
    return error.answer()


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        return read_json_object(raw)
    except NotJsonError as error:
        raise ApiError(47001) from error


def _json(answer: Answer) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), headers={"Content-Type": "application/json; encoding=utf-8"})


def _file(file: File) -> web.Response:
    shown = quote(file.filename, safe="")
    return web.Response(
        body=file.content,
        content_type=file.content_type,
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{shown}", "X-Content-Type-Options": "nosniff"},
    )


def _cut(request: web.Request) -> web.StreamResponse:
    """Close the connection in the middle: the caller gets no byte of an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # nobody is there to receive it


async def _no_such_api(_request: web.Request) -> web.Response:
    return _json(ApiError(40066).answer())
