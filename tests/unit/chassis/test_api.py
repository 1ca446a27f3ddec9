"""Endpoints: odd requests become problems that name what is wrong; the description tells what is served."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import aiohttp
import msgspec
import pytest
from openapi_spec_validator import validate

from chassis.api import Call, described, endpoint, routes
from chassis.http import Health, app_runner, application, serve
from chassis.openapi import openapi
from contracts.errors import Unavailable
from contracts.roles import Principal
from weir import openapi as weir_openapi

TOKEN = "an-admin-token-of-30-characters"


class Query(msgspec.Struct):
    account: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=5)] = 3


class Body(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    tags: list[str] = []


class Thing(msgspec.Struct):
    name: str
    limit: int = 0


class Api:
    @endpoint("GET", "/api/things", "Things", allow="rules.read", query=Query, answers=list[Thing])
    async def things(self, call: Call) -> list[Thing]:
        return [Thing("a", call.query.limit)]

    @endpoint("POST", "/api/things/{account}", "Make one", allow="rules.write", body=Body, answers=Thing, status=201)
    async def make(self, call: Call) -> Thing:
        return Thing(call.body.name)

    @endpoint("GET", "/api/away", "Away", allow="", answers=Thing)
    async def away(self, _call: Call) -> Thing:
        raise Unavailable("mongodb")

    @endpoint("GET", "/api/open", "For everybody", allow=None, answers=Thing)
    async def open(self, call: Call) -> Thing:
        return Thing(call.who.kind)


class Somebody:
    """Finds the operator of one account."""

    async def find(self, request: Any) -> Principal | None:
        if request.headers.get("X-Test") == "ann":
            return Principal(name="ann", kind="user", roles={"demo": "operator"})
        return None


Ask = Any


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    app = application(Health(), token=TOKEN, identity=Somebody())
    app.add_routes(routes(Api()))
    runner = app_runner(app)
    site = await serve(runner, "127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{site.port}") as http:

        async def one(method: str, path: str, *, as_ann: bool = False, **given: Any) -> tuple[int, Any]:
            headers = {"X-Test": "ann"} if as_ann else {"Authorization": f"Bearer {TOKEN}"}
            headers |= given.pop("headers", {})
            async with http.request(method, path, headers=headers, **given) as response:
                return response.status, await response.json(content_type=None)

        yield one
    await runner.cleanup()


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("nope=1", "nope: there is no such parameter; there are account, limit"),
        ("limit=1&limit=2", "limit: must be given once"),
        ("limit=9", "limit: Expected `int` <= 5"),
        ("limit=x", "limit: Expected `int`"),
        ("account=%00", "account: must not hold a NUL"),
    ],
)
async def test_a_query_is_read_strictly(ask: Ask, query: str, wanted: str) -> None:
    status, problem = await ask("GET", f"/api/things?{query}")
    assert (status, problem["code"]) == (400, "bad_parameter")
    assert problem["detail"].startswith(wanted)


@pytest.mark.parametrize(
    ("data", "status", "wanted"),
    [
        (b'{"name": 1}', 422, "name: Expected `str`"),
        (b"{}", 422, "name: is missing"),
        (b'{"name": "a", "nmae": 1}', 422, "nmae: there is no such field"),
        (b'{"name": "a", "tags": ["b", 2]}', 422, "tags[1]: Expected `str`"),
        (b"{", 400, "the body is no JSON"),
        (b'{"name": "\xff"}', 400, "the body is no JSON"),
        (b"[" * 100_000, 422, "Expected `object`, got `array`"),
        (b'"' + b"a" * (1024 * 1024) + b'"', 413, "a body has at most"),
    ],
)
async def test_a_body_is_read_strictly(ask: Ask, data: bytes, status: int, wanted: str) -> None:
    found = await ask("POST", "/api/things/demo", data=data, headers={"Content-Type": "application/json"})
    assert found[0] == status, found
    assert found[1]["detail"].startswith(wanted)


async def test_what_is_no_json_is_refused_by_its_type(ask: Ask) -> None:
    status, problem = await ask("POST", "/api/things/demo", data=b"{}", headers={"Content-Type": "text/plain"})
    assert (status, problem["code"]) == (415, "not_json")


async def test_good_requests(ask: Ask) -> None:
    assert await ask("GET", "/api/things?limit=5") == (200, [{"name": "a", "limit": 5}])
    assert await ask("POST", "/api/things/demo", json={"name": "b"}) == (201, {"name": "b", "limit": 0})


async def test_who_may_what(ask: Ask) -> None:
    assert (await ask("POST", "/api/things/demo", as_ann=True, json={"name": "b"}))[0] == 201
    assert (await ask("POST", "/api/things/other", as_ann=True, json={"name": "b"}))[1]["code"] == "forbidden"
    assert (await ask("GET", "/api/things?account=demo", as_ann=True))[0] == 200
    status, problem = await ask("GET", "/api/things", as_ann=True)
    assert (status, "for some accounts only" in problem["detail"]) == (403, True)
    nobody = {"Authorization": "Bearer wrong"}
    assert (await ask("GET", "/api/things", headers=nobody))[0] == 401
    assert await ask("GET", "/api/open", headers=nobody) == (200, {"name": "nobody", "limit": 0})


async def test_a_store_that_is_away_is_told(ask: Ask) -> None:
    status, problem = await ask("GET", "/api/away")
    assert (status, problem["code"]) == (503, "store_unavailable")


def test_the_description_is_openapi() -> None:
    document = openapi("Test", "1", [Api])
    validate(document)
    things = document["paths"]["/api/things"]["get"]
    assert {one["name"] for one in things["parameters"]} == {"account", "limit"}
    assert document["paths"]["/api/open"]["get"]["security"] == []
    assert document["paths"]["/api/things/{account}"]["post"]["responses"].keys() >= {"201", "401", "403", "422"}


def test_the_whole_of_weir_is_openapi() -> None:
    validate(msgspec.json.decode(weir_openapi.document()))


def test_no_two_endpoints_are_in_each_others_way() -> None:
    specs = [spec for api in weir_openapi.APIS for spec in described(api)]
    assert len({(spec.method, spec.path) for spec in specs}) == len(specs)
    assert len({spec.name for spec in specs}) == len(specs)
