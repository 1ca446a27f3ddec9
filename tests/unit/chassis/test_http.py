"""HTTP: probes, problems instead of stack traces, bearer tokens."""

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from chassis.http import Health, Problem, app_runner, application, serve

TOKEN = "an-admin-token-of-30-characters"


class Served:
    def __init__(self, http: aiohttp.ClientSession, url: str, health: Health) -> None:
        self.http, self.url, self.health = http, url, health

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        async with self.http.get(self.url + path, headers=headers) as response:
            return response.status, dict(response.headers), await response.text()


async def _fails(_request: web.Request) -> web.Response:
    raise RuntimeError("with a secret=abc inside")


async def _refuses(_request: web.Request) -> web.Response:
    raise Problem(422, "bad_cursor", "cursor is not one of ours; leave it out to start again")


async def _echoes(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    health = Health()
    app = application(health, token=TOKEN)
    app.add_routes(
        [
            web.get("/fails", _fails),
            web.get("/refuses", _refuses),
            web.get("/api/thing", _refuses),
            web.post("/echo", _echoes),
        ]
    )
    runner = app_runner(app)
    await serve(runner, "127.0.0.1", 0)
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as http:
        yield Served(http, f"http://127.0.0.1:{port}", health)
    await runner.cleanup()


async def test_liveness_asks_nobody_and_readiness_says_what_is_missing(served: Served) -> None:
    served.health.checks["rabbitmq"] = lambda: False
    assert (await served.get("/livez"))[0] == 200
    status, _, text = await served.get("/readyz")
    assert status == 503
    assert json.loads(text) == {"ready": False, "checks": {"serving": True, "rabbitmq": False}}
    served.health.checks["rabbitmq"] = lambda: True
    assert (await served.get("/readyz"))[0] == 200
    served.health.draining = True
    assert (await served.get("/readyz"))[0] == 503
    assert (await served.get("/livez"))[0] == 200


async def test_metrics_are_ours_and_in_prometheus_format(served: Served) -> None:
    status, headers, text = await served.get("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert "# HELP weir_http_requests_total" in text


async def test_an_unforeseen_error_is_told_to_nobody(served: Served) -> None:
    status, headers, text = await served.get("/fails")
    assert status == 500
    assert headers["Content-Type"].startswith("application/problem+json")
    assert "secret" not in text
    assert "Traceback" not in text
    assert json.loads(text)["code"] == "internal"


async def test_errors_are_problems(served: Served) -> None:
    assert json.loads((await served.get("/refuses"))[2]) == {
        "type": "about:blank",
        "status": 422,
        "code": "bad_cursor",
        "detail": "cursor is not one of ours; leave it out to start again",
    }
    status, _, text = await served.get("/nowhere")
    assert (status, json.loads(text)["code"]) == (404, "not_found")
    async with served.http.delete(served.url + "/echo") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
    async with served.http.post(served.url + "/echo", data=b"x" * (64 * 1024 + 1)) as response:
        assert response.status == 413
        assert (await response.json())["status"] == 413


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        TOKEN,
        f"Basic {TOKEN}",
        "Bearer \udcff\udcfe",
    ],
)
async def test_without_the_token_nothing_passes(served: Served, given: str) -> None:
    headers = {"Authorization": given} if given else {}
    async with served.http.get(served.url + "/api/thing", headers=headers) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert TOKEN not in await response.text()


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Bearer  {TOKEN} "])
async def test_with_the_token_it_passes(served: Served, given: str) -> None:
    assert (await served.get("/api/thing", Authorization=given))[0] == 422


async def test_with_no_token_set_nothing_passes() -> None:
    app = application(Health(), token="")
    app.add_routes([web.get("/api/thing", _refuses)])
    runner = app_runner(app)
    await serve(runner, "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as http:
            for given in ("", "Bearer "):
                async with http.get(
                    f"http://127.0.0.1:{runner.addresses[0][1]}/api/thing", headers={"Authorization": given}
                ) as response:
                    assert response.status == 401
    finally:
        await runner.cleanup()
