"""The one address of a Weir on one machine: the gateway itself, and behind it, by path, the other services.

``python -m weir.edge``. In a cluster an ingress does this. The webhook is served here in this process, not proxied,
so local numbers are the gateway's numbers.
"""

from __future__ import annotations

from importlib.resources import files

import aiohttp
from aiohttp import web

from chassis import logs
from chassis.http import problem
from chassis.lifecycle import Process, run
from chassis.settings import Settings
from services.gateway.app import build as build_gateway
from weir.openapi import document

log = logs.get(__name__)

# Headers that belong to one connection, not to the message (RFC 9110, 7.6.1).
HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding")
) | {"upgrade", "host", "content-length"}
AGENT = tuple(f"/api/{name}" for name in ("session", "sessions", "setup", "users", "tokens", "audit", "conversations"))
"""What the agent service answers."""
CSP = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
PAGES = {
    "/": ("home.html", "text/html"),
    "/setup": ("setup.html", "text/html"),
    "/setup.js": ("setup.js", "text/javascript"),
}
"""What is served here itself: by path its file and type."""


def _read(name: str) -> bytes:
    return files("weir").joinpath(name).read_bytes()


class Edge:
    """Sends a request on to the service that its path belongs to, streaming both ways."""

    def __init__(self, targets: dict[str, str]) -> None:
        self._targets = targets
        self._session: aiohttp.ClientSession | None = None
        self._pages = {path: (_read(name), kind) for path, (name, kind) in PAGES.items()}

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if page := self._pages.get(request.path):
            body, kind = page
            headers = {"Content-Security-Policy": CSP, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
            return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)
        if request.path == "/api/openapi.json":
            return web.Response(body=document(), content_type="application/json")
        for prefix, target in self._targets.items():
            if target and (request.path == prefix or request.path.startswith(prefix + "/")):
                return await self._forward(request, prefix, target)
        return problem(404, "not_found", "nothing is served under this path; / says what is")

    async def _forward(self, request: web.BaseRequest, prefix: str, target: str) -> web.StreamResponse:
        if self._session is None:
            # No total time-out: an export streams for minutes, a phone waits half a minute for its next message.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=60)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        # What a proxy before this one said of the scheme holds; of the host only what the browser itself was told.
        headers["X-Forwarded-Host"] = request.host
        body = request.content if request.body_exists else None
        response: web.StreamResponse | None = None
        try:
            async with self._session.request(
                request.method, target + request.raw_path, headers=headers, data=body, allow_redirects=False
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP}
                response = web.StreamResponse(status=answer.status, headers=kept)
                if answer.content_length is not None:
                    response.content_length = answer.content_length
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("a service behind the edge does not answer", prefix=prefix, error=repr(error))
            if response is not None and response.prepared:
                # Half an answer must not look like a whole one.
                if request.transport:
                    request.transport.abort()
                return response
            return problem(502, "not_reachable", f"the service behind {prefix} does not answer; it may be restarting")


async def build(settings: Settings) -> Process:
    edge = Edge(
        {
            **dict.fromkeys(AGENT, settings.edge_agent_url),
            "/api/rules": settings.edge_autoreply_url,
            "/api/sends": settings.edge_courier_url,
            "/api/media": settings.edge_courier_url,
            "/api": settings.edge_history_url,
            "/sandbox": settings.edge_sandbox_url,
        }
    )
    process = await build_gateway(settings, edge.handle)
    process.closers.append(edge.close)
    return process


if __name__ == "__main__":
    run("gateway", build)
