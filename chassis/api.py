"""Typed endpoints: what they take, give and allow is declared beside the handler, and OpenAPI is made of it.

    class Api:
        @endpoint("GET", "/api/incidents/{incident}", "One incident", allow="incidents.read", answers=Incident)
        async def incident(self, call: Call) -> Incident: ...

Whatever is odd about a request becomes a problem that names it; a handler only sees what fits its types.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import msgspec
from aiohttp import web

from chassis import http
from chassis.http import Problem
from contracts.errors import Unavailable
from contracts.roles import EVERY_ACCOUNT, Principal

F = TypeVar("F", bound=Callable[..., Any])

MAX_BODY = 1024 * 1024
"""Bytes of a JSON body; a rule set of fifty thousand keywords has about half of it."""
_SPEC = "__endpoint__"


class Auditing(Protocol):
    """Keeps who changed what."""

    async def record(self, who: Principal, what: str, about: str, account: str, detail: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Endpoint:
    """One endpoint. ``allow`` is a permission; None lets everybody in, empty everybody who is signed in.

    ``query`` and ``body`` are msgspec structs; with ``reads_query`` off the handler reads the query by itself.
    ``answers`` is the type of the JSON answer, ``produces`` the content type of one that is no JSON. ``errors`` are
    (status, code) beyond those that every endpoint has.
    """

    method: str
    path: str
    summary: str
    allow: str | None
    name: str
    query: type[msgspec.Struct] | None = None
    body: type | None = None
    answers: Any = None
    status: int = 200
    produces: str = "application/json"
    reads_query: bool = True
    errors: tuple[tuple[int, str], ...] = ()
    description: str = ""


@dataclass
class Call:
    """A request, read and allowed. ``query`` and ``body`` are of the types that the endpoint declares."""

    request: web.Request
    who: Principal
    path: Mapping[str, str]
    query: Any = None
    body: Any = None
    _audit: Auditing | None = field(default=None, repr=False)

    async def audit(self, what: str, about: str, detail: Mapping[str, Any] | None = None, account: str = "") -> None:
        """Keep that this caller changed something. ``detail`` holds no secret."""
        if self._audit is None:
            raise RuntimeError("this service has nowhere to keep an audit log")
        await self._audit.record(self.who, what, about, account or self.path.get("account", ""), detail or {})

    def require(self, permission: str, account: str = EVERY_ACCOUNT) -> None:
        """Raise the problem 403 unless the caller has a permission for an account."""
        if not self.who.may(permission, account):
            where = "all accounts" if account == EVERY_ACCOUNT else f"the account {account!r}"
            raise Problem(403, "forbidden", f"this needs the permission {permission} for {where}")


def endpoint(method: str, path: str, summary: str, *, allow: str | None, **more: Any) -> Callable[[F], F]:
    """Declare a coroutine method ``(self, call) -> answer`` as an endpoint; see ``Endpoint``."""

    def declare(handler: F) -> F:
        spec = Endpoint(
            method, path, summary, allow, handler.__qualname__, description=(handler.__doc__ or "").strip(), **more
        )
        setattr(handler, _SPEC, spec)
        return handler

    return declare


def described(api: type) -> list[Endpoint]:
    """The endpoints of a class, in the order in which they stand there."""
    return [spec for member in vars(api).values() if isinstance(spec := getattr(member, _SPEC, None), Endpoint)]


def routes(api: object, audit: Auditing | None = None) -> list[web.RouteDef]:
    """The routes of an object's endpoints."""
    found = []
    for name, member in vars(type(api)).items():
        spec = getattr(member, _SPEC, None)
        if isinstance(spec, Endpoint):
            found.append(web.route(spec.method, spec.path, _serving(spec, getattr(api, name), audit)))
    return found


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _serving(spec: Endpoint, handler: Callable[[Call], Awaitable[Any]], audit: Auditing | None) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        who = request.get(http.WHO) or Principal(name="", kind="nobody")
        call = Call(request, who, request.match_info, _audit=audit)
        if spec.query is not None and spec.reads_query:
            call.query = read_query(request, spec.query)
        _check(spec, call)
        if spec.body is not None:
            call.body = await read_body(request, spec.body)
        try:
            answer = await handler(call)
        except Unavailable as error:
            raise Problem(503, "store_unavailable", "the store does not answer right now; try again soon") from error
        if isinstance(answer, web.StreamResponse):
            return answer
        if spec.status == 204:
            return web.Response(status=204)
        response = http.json(answer, spec.status)
        response.headers["Cache-Control"] = "no-store"
        return response

    serve.public = spec.allow is None  # type: ignore[attr-defined]  # read by the one who asks who it is
    return serve


def _check(spec: Endpoint, call: Call) -> None:
    """Whether the caller may: for the account in the path or the query, else for all accounts."""
    if not spec.allow:
        return
    account = call.path.get("account") or getattr(call.query, "account", "") or ""
    if not account and spec.query is not None and not spec.reads_query:
        account = call.request.query.get("account", "")
    if account or not call.who.may_somewhere(spec.allow):
        call.require(spec.allow, account or EVERY_ACCOUNT)
    elif not call.who.may(spec.allow):
        raise Problem(403, "forbidden", f"you have {spec.allow} for some accounts only: name one (account)")


def read_query(request: web.Request, kind: type[msgspec.Struct]) -> Any:
    """The query string as a struct. Raises the problem ``bad_parameter``."""
    names = {one.encode_name for one in msgspec.structs.fields(kind)}
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in names:
            known = f"there are {', '.join(sorted(names))}" if names else "there are none"
            raise Problem(400, "bad_parameter", f"{name[:40]}: there is no such parameter; {known}")
        if name in given:
            raise Problem(400, "bad_parameter", f"{name}: must be given once")
        if "\0" in value:
            raise Problem(400, "bad_parameter", f"{name}: must not hold a NUL")
        given[name] = value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Problem(400, "bad_parameter", _in_words(error)) from None


async def read_body(request: web.Request, kind: type) -> Any:
    """The JSON body as its type. Raises the problems ``bad_body``, ``not_json`` and ``too_large``."""
    if request.content_type != "application/json":
        raise Problem(415, "not_json", "send a JSON body with Content-Type: application/json")
    # The application's own bound is smaller: what a rule set needs would be too much for everything else.
    request._client_max_size = MAX_BODY  # noqa: SLF001  # aiohttp has no bound for one route
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Problem(413, "too_large", f"a body has at most {MAX_BODY} bytes") from None
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise Problem(422, "bad_body", _in_words(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "not_json", f"the body is no JSON: {error}") from None


_PATH = re.compile(r" - at `(key in )?\$\.?(.*)`$")


def _in_words(error: msgspec.ValidationError) -> str:
    """The sentence of msgspec with the field in front: ``limit: Expected `int` <= 500``."""
    sentence = str(error)
    where = _PATH.search(sentence)
    unknown = re.search(r"unknown field `([^`]+)`", sentence)
    missing = re.search(r"missing required field `([^`]+)`", sentence)
    name = where.group(2) if where else ""
    said = _PATH.sub("", sentence)
    if found := unknown or missing:
        name = f"{name}.{found.group(1)}".lstrip(".")
        said = "there is no such field; check its spelling" if unknown else "is missing"
    return f"{name}: {said}" if name else said
