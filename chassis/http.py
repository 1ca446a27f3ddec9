"""HTTP serving: /livez, /readyz, /metrics for every process, problem+json errors, bearer tokens for APIs."""

from __future__ import annotations

import hmac
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec
from aiohttp import web

from chassis import logs, metrics
from contracts.errors import Unavailable
from contracts.roles import ADMIN, Principal

log = logs.get(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

KEEPALIVE = 15.0
SHUTDOWN = 1.0
"""Seconds for requests still under way when all that was to be settled is settled; aiohttp spends them twice."""
BACKLOG = 1024
ACCEPTORS = 8
"""Copies of the listening socket. uvloop takes in one connection a turn of its loop from each: with a single one, of a
thousand connections that came at once under load some waited for seconds."""


class Problem(Exception):
    """An error for a caller of an API, as RFC 9457 has it: ``code`` is stable, ``detail`` says what to do."""

    def __init__(self, status: int, code: str, detail: str, more: Mapping[str, Any] | None = None) -> None:
        """``more`` are further members of the problem, such as everything that is wrong with a rule set."""
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.more = more


def problem(status: int, code: str, detail: str, more: Mapping[str, Any] | None = None) -> web.Response:
    body = to_json({"type": "about:blank", "status": status, "code": code, "detail": detail, **(more or {})})
    return web.Response(status=status, body=body, content_type="application/problem+json")


def json(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=to_json(value), content_type="application/json")


def to_json(value: Any) -> bytes:
    """JSON of what is plain, or came out of MongoDB, which gives large integers a class of their own."""
    return msgspec.json.encode(value, enc_hook=_as_plain)


def _as_plain(value: Any) -> Any:
    if isinstance(value, int):
        return int(value)
    raise NotImplementedError(f"objects of type {type(value).__name__} have no JSON form")


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error leaves as a problem; what nobody foresaw is logged here and told nobody."""
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "unknown"
    response: web.StreamResponse
    try:
        response = await handler(request)
    except Problem as error:
        response = problem(error.status, error.code, error.detail, error.more)
    except web.HTTPException as error:
        code = (error.reason or "error").lower().replace(" ", "_")
        response = problem(error.status, code, error.reason or "")
        response.headers.update({k: v for k, v in error.headers.items() if k in ("Allow", "Location")})
    except Exception:
        log.exception("request failed", route=route)
        response = problem(500, "internal", "something went wrong here; the log of the service says what")
    metrics.http_requests.labels(route, request.method, f"{response.status // 100}xx").inc()
    return response


WHO = web.RequestKey("who", Principal)
"""The caller, once it is known."""


class Identity(Protocol):
    """Who finds out who asks, beyond the installation's own token."""

    async def find(self, request: web.Request) -> Principal | None: ...


def require_caller(token: str, identity: Identity | None = None) -> Any:
    """Middleware: everything under /api/ needs a caller, who then stands in ``request[WHO]``.

    The bearer ``token`` is the installation's own and may do everything; with none set it lets nobody in. Others are
    found by ``identity``. A handler with the attribute ``public`` does without.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/api/") and not getattr(request.match_info.handler, "public", False):
            scheme, _, given_text = request.headers.get("Authorization", "").partition(" ")
            given = given_text.strip().encode("utf-8", "replace")  # headers may hold bytes that are no text
            if token and scheme.lower() == "bearer" and hmac.compare_digest(given, token.encode()):
                request[WHO] = ADMIN
            else:
                try:
                    who = await identity.find(request) if identity else None
                except Unavailable:
                    return problem(503, "store_unavailable", "the store does not answer right now; try again soon")
                if who is None:
                    return _unauthorized(signing_in=identity is not None)
                request[WHO] = who
        return await handler(request)

    return check


def _unauthorized(*, signing_in: bool) -> web.Response:
    how = "send a token as: Authorization: Bearer <token>" + (", or sign in at /api/session" if signing_in else "")
    response = problem(401, "unauthorized", how)
    response.headers["WWW-Authenticate"] = 'Bearer realm="weir"'
    return response


class Health:
    """What the probes ask. Liveness never asks broker or store: their outage must not restart a fleet."""

    def __init__(self) -> None:
        self.checks: dict[str, Callable[[], bool]] = {}
        self.draining = False

    def states(self) -> dict[str, bool]:
        return {"serving": not self.draining, **{name: check() for name, check in self.checks.items()}}

    async def livez(self, _request: web.BaseRequest) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(self, _request: web.BaseRequest) -> web.Response:
        states = self.states()
        ready = all(states.values())
        return json({"ready": ready, "checks": states}, 200 if ready else 503)

    async def metrics(self, _request: web.BaseRequest) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": metrics.CONTENT_TYPE})


def application(health: Health, *, token: str = "", identity: Identity | None = None) -> web.Application:
    """An application with the probes; a service adds its routes."""
    app = web.Application(middlewares=[problems, require_caller(token, identity)], client_max_size=64 * 1024)
    app.add_routes(
        [web.get("/livez", health.livez), web.get("/readyz", health.readyz), web.get("/metrics", health.metrics)]
    )
    return app


class Listening:
    """What is served on one address."""

    def __init__(self, sites: list[web.SockSite], port: int) -> None:
        self._sites = sites
        self.port = port

    async def stop(self) -> None:
        """Take in no new connections; those that are open go on."""
        for site in self._sites:
            await site.stop()


async def serve(runner: web.BaseRunner, host: str, port: int) -> Listening:
    """Start serving. Raises ``OSError`` when the address cannot be had."""
    await runner.setup()
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    copies = [listener, *(listener.dup() for _ in range(ACCEPTORS - 1))]
    sites = [web.SockSite(runner, copy, backlog=BACKLOG) for copy in copies]
    for site in sites:
        await site.start()
    return Listening(sites, listener.getsockname()[1])


def app_runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(app, access_log=None, keepalive_timeout=KEEPALIVE, shutdown_timeout=SHUTDOWN)
