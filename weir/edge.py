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

log = logs.get(__name__)

# Headers that belong to one connection, not to the message (RFC 9110, 7.6.1).
HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding")
) | {"upgrade", "host", "content-length"}
CSP = "default-src 'none'; style-src 'self' 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


class Edge:
    """Sends a request on to the service that its path belongs to, streaming both ways."""

    def __init__(self, targets: dict[str, str]) -> None:
        self._targets = targets
        self._session: aiohttp.ClientSession | None = None
        self._home = files("weir").joinpath("home.html").read_bytes()

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/":
            return web.Response(
                body=self._home, content_type="text/html", charset="utf-8", headers={"Content-Security-Policy": CSP}
            )
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
            "/api/sends": settings.edge_courier_url,
            "/api": settings.edge_history_url,
            "/sandbox": settings.edge_sandbox_url,
        }
    )
    process = await build_gateway(settings, edge.handle)
    process.closers.append(edge.close)
    return process


if __name__ == "__main__":
    run("gateway", build)
