"""Signing in, roles, programs' tokens and the audit log, on a real MongoDB."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from chassis.api import routes
from chassis.audit import Audit
from chassis.http import Health, app_runner, application, serve
from chassis.identity import Identities
from chassis.mongo import connect
from contracts.roles import EVERY_ACCOUNT
from services.agent.signin_api import SignInApi
from services.agent.users import FREE_TRIES, UserError, Users
from services.agent.users_api import UsersApi

ADMIN_TOKEN = "an-admin-token-of-30-characters"
PASSWORD = "correct horse"


class Stage:
    """The agent service's sign-in, served."""

    def __init__(self, url: str, users: Users, database: Any) -> None:
        self.url, self.users, self.database = url, users, database
        self.identities: Identities

    async def ask(
        self, http: aiohttp.ClientSession, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        self.identities.forget()  # what others do is in force here at once, not after two seconds
        async with http.request(method, self.url + path, json=body, headers=headers) as response:
            return response.status, await response.json() if response.content_length else None

    async def admin(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as http:
            return await self.ask(http, method, path, body, Authorization=f"Bearer {ADMIN_TOKEN}")


@pytest.fixture
async def stage(mongo_url: str, mongo_db: str) -> AsyncIterator[Stage]:
    client, database = connect(mongo_url, mongo_db, name="test")
    users, identities, audit = Users(database), Identities(database), Audit(database)
    await users.prepare()
    await audit.prepare()
    app = application(Health(), token=ADMIN_TOKEN, identity=identities)
    for api in (SignInApi(users, identities), UsersApi(users, identities, audit)):
        app.add_routes(routes(api, audit))
    runner = app_runner(app)
    site = await serve(runner, "127.0.0.1", 0)
    made = Stage(f"http://127.0.0.1:{site.port}", users, database)
    made.identities = identities
    yield made
    await runner.cleanup()
    client.close()


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:  # an address is no host name
        yield http


async def signed_in(stage: Stage, browser: aiohttp.ClientSession, name: str = "ann") -> str:
    """Sign in; the session's csrf."""
    status, me = await stage.ask(browser, "POST", "/api/session", {"name": name, "password": PASSWORD})
    assert status == 200, me
    csrf: str = me["csrf"]
    return csrf


async def test_the_first_administrator_uses_the_link_once(stage: Stage, browser: aiohttp.ClientSession) -> None:
    link = await stage.users.setup_link()
    body = {"token": link, "name": "ann", "password": "short"}
    assert (await stage.ask(browser, "POST", "/api/setup", body))[1]["code"] == "bad_user"
    body["password"] = PASSWORD
    answers = await asyncio.gather(*(stage.ask(browser, "POST", "/api/setup", body) for _ in range(3)))
    assert sorted(status for status, _ in answers) == [200, 403, 403]
    status, me = await stage.ask(browser, "GET", "/api/session")
    assert (status, me["name"], me["roles"]) == (200, "ann", {"*": "admin"})
    # Neither the link again nor a new one makes a second first administrator.
    again = {**body, "token": await stage.users.setup_link(), "name": "eve"}
    assert (await stage.ask(browser, "POST", "/api/setup", again))[1]["code"] == "link_over"
    assert [user["_id"] for user in await stage.users.all()] == ["ann"]


async def test_wrong_names_and_passwords_are_told_alike_and_slow_down(stage: Stage) -> None:
    await stage.users.add("ann", {EVERY_ACCOUNT: "viewer"}, PASSWORD)
    async with aiohttp.ClientSession() as http:
        unknown = await stage.ask(http, "POST", "/api/session", {"name": "nobody", "password": PASSWORD})
        wrong = await stage.ask(http, "POST", "/api/session", {"name": "ann", "password": "wrong password"})
        assert unknown == wrong
        assert wrong[1]["code"] == "wrong_password"
        for _ in range(FREE_TRIES - 1):
            await stage.ask(http, "POST", "/api/session", {"name": "ann", "password": "wrong password"})
        # From here on even the right one has to wait, and somebody else need not.
        status, problem = await stage.ask(http, "POST", "/api/session", {"name": "ann", "password": PASSWORD})
        assert (status, problem["code"]) == (429, "too_many_tries")
        await stage.users.add("bob", {}, PASSWORD)
        assert (await stage.ask(http, "POST", "/api/session", {"name": "bob", "password": PASSWORD}))[0] == 200


async def test_a_change_needs_what_only_our_pages_know(stage: Stage, browser: aiohttp.ClientSession) -> None:
    await stage.users.add("ann", {EVERY_ACCOUNT: "admin"}, PASSWORD)
    csrf = await signed_in(stage, browser)
    body = {"name": "bob", "password": PASSWORD, "roles": {"demo": "agent"}}
    foreign = {"X-CSRF-Token": csrf, "Origin": "https://evil.example"}
    assert (await stage.ask(browser, "POST", "/api/users", body))[1]["code"] == "csrf"
    assert (await stage.ask(browser, "POST", "/api/users", body, **{"X-CSRF-Token": "guess"}))[1]["code"] == "csrf"
    assert (await stage.ask(browser, "POST", "/api/users", body, **foreign))[1]["code"] == "csrf"
    assert [user["_id"] for user in await stage.users.all()] == ["ann"]
    own = {"X-CSRF-Token": csrf, "Origin": stage.url}
    assert (await stage.ask(browser, "POST", "/api/users", body, **own))[0] == 201
    _, log = await stage.ask(browser, "GET", "/api/audit")
    assert [(one["who"], one["what"], one["about"]) for one in log["entries"]] == [("ann", "users.added", "bob")]
    assert PASSWORD not in str(log)


async def test_roles_bound_what_one_may(stage: Stage, browser: aiohttp.ClientSession) -> None:
    await stage.users.add("ann", {"demo": "operator"}, PASSWORD)
    csrf = await signed_in(stage, browser)
    for method, path, body in (
        ("GET", "/api/users", None),
        ("POST", "/api/users", {"name": "eve", "password": PASSWORD, "roles": {"*": "admin"}}),
        ("GET", "/api/tokens", None),
    ):
        status, problem = await stage.ask(browser, method, path, body, **{"X-CSRF-Token": csrf})
        assert (status, problem["code"]) == (403, "forbidden"), path
    assert (await stage.ask(browser, "GET", "/api/audit?account=demo"))[0] == 200
    assert (await stage.ask(browser, "GET", "/api/audit?account=other"))[0] == 403
    status, problem = await stage.ask(browser, "GET", "/api/audit")
    assert status == 403
    assert "name one" in problem["detail"]


async def test_signing_out_ends_it(stage: Stage, browser: aiohttp.ClientSession) -> None:
    await stage.users.add("ann", {EVERY_ACCOUNT: "viewer"}, PASSWORD)
    csrf = await signed_in(stage, browser)
    stolen = browser.cookie_jar.filter_cookies(aiohttp.typedefs.URL(stage.url))["weir_session"].value
    assert (await stage.ask(browser, "DELETE", "/api/session", **{"X-CSRF-Token": csrf}))[0] == 204
    async with aiohttp.ClientSession() as thief:
        assert (await stage.ask(thief, "GET", "/api/session", Cookie=f"weir_session={stolen}"))[0] == 401


@pytest.mark.parametrize("how", ["password", "disabled", "everywhere", "idle", "old"])
async def test_what_ends_sessions(stage: Stage, browser: aiohttp.ClientSession, how: str) -> None:
    await stage.users.add("boss", {EVERY_ACCOUNT: "admin"}, PASSWORD)
    await stage.users.add("ann", {EVERY_ACCOUNT: "viewer"}, PASSWORD)
    await signed_in(stage, browser)
    assert (await stage.ask(browser, "GET", "/api/session"))[0] == 200
    match how:
        case "password":
            assert (await stage.admin("PATCH", "/api/users/ann", {"password": "another password"}))[0] == 200
        case "disabled":
            assert (await stage.admin("PATCH", "/api/users/ann", {"disabled": True}))[0] == 200
        case "everywhere":
            assert await stage.users.sign_out_everywhere("ann") == 1
        case _:
            field, age = ("seen", timedelta(hours=13)) if how == "idle" else ("created", timedelta(days=8))
            await stage.database["sessions"].update_many({}, {"$set": {field: datetime.now(UTC) - age}})
    assert (await stage.ask(browser, "GET", "/api/session"))[0] == 401


async def test_the_last_administrator_stays(stage: Stage) -> None:
    await stage.users.add("boss", {EVERY_ACCOUNT: "admin"}, PASSWORD)
    for change in ({"disabled": True}, {"roles": {"*": "viewer"}}):
        status, problem = await stage.admin("PATCH", "/api/users/boss", change)
        assert (status, problem["code"]) == (422, "bad_user")
        assert "last administrator" in problem["detail"]


async def test_a_programs_token_does_what_it_is_for(stage: Stage) -> None:
    given = {"name": "crm", "permissions": ["audit.read"], "accounts": ["demo"], "days": 1}
    status, made = await stage.admin("POST", "/api/tokens", given)
    assert status == 201
    bearer = {"Authorization": f"Bearer {made['token']}"}
    async with aiohttp.ClientSession() as http:
        assert (await stage.ask(http, "GET", "/api/audit?account=demo", **bearer))[0] == 200
        assert (await stage.ask(http, "GET", "/api/audit?account=other", **bearer))[0] == 403
        assert (await stage.ask(http, "GET", "/api/users", **bearer))[0] == 403
        assert (await stage.admin("POST", "/api/tokens", given))[1]["code"] == "bad_token"  # the name is taken
        await stage.database["api_tokens"].update_many({}, {"$set": {"expires": datetime.now(UTC)}})
        assert (await stage.ask(http, "GET", "/api/audit?account=demo", **bearer))[0] == 401
        assert (await stage.admin("DELETE", "/api/tokens/crm"))[0] == 204
    _, log = await stage.admin("GET", "/api/audit?limit=1")
    assert (log["entries"][0]["what"], log["entries"][0]["about"]) == ("tokens.revoked", "crm")
    _, more = await stage.admin("GET", f"/api/audit?cursor={log['next']}")
    assert [one["what"] for one in more["entries"]] == ["tokens.made"]
    stored = [one async for one in stage.database["api_tokens"].find()]
    assert stored == []
    assert made["token"] not in str(log) + str(more)


async def test_nobody_gives_more_than_they_have(stage: Stage) -> None:
    secret = await stage.users.add_token("maker", ["tokens.manage", "rules.read"], ["*"], None, "test")
    async with aiohttp.ClientSession() as http:
        wanted = {"name": "more", "permissions": ["users.manage"], "accounts": ["*"]}
        status, _ = await stage.ask(http, "POST", "/api/tokens", wanted, Authorization=f"Bearer {secret}")
        assert status == 403


@pytest.mark.parametrize(
    ("name", "roles", "password", "field"),
    [
        ("A", {}, PASSWORD, "name"),
        ("ann", {"demo": "king"}, PASSWORD, "roles"),
        ("ann", {"NO": "agent"}, PASSWORD, "roles"),
        ("ann", {}, "short", "password"),
        ("ann", {}, "x" * 300, "password"),
    ],
)
async def test_a_bad_user_is_told_what_is_wrong(
    stage: Stage, name: str, roles: dict[str, str], password: str, field: str
) -> None:
    with pytest.raises(UserError, match=f"^{field}"):
        await stage.users.add(name, roles, password)
