"""Real servers for the tests that need them: started once, when the first test asks, each test on a clean vhost and database.

rabbit, mongod          the session's servers; leave them running
amqp_url                the address of a vhost of this test's own, gone afterwards
mongo_url, mongo_db     the server's address, and the name of a database of this test's own, dropped afterwards
own_rabbit, own_mongod  servers of this test's own, to pause, kill and start again

A test that uses any of them is marked `integration` by itself.
"""

import asyncio
import base64
import http.client
import json
import shutil
import uuid
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import pytest

from weir.local.mongo import MongoServer
from weir.local.rabbit import RabbitServer

T = TypeVar("T")
Server = TypeVar("Server", RabbitServer, MongoServer)

_SERVER_FIXTURES = {"rabbit", "mongod", "amqp_url", "mongo_url", "mongo_db", "own_rabbit", "own_mongod"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the servers, so that `-m "not integration"` is quick without a list to keep.

    `make test` runs the end-to-end tests alone, since they tell what a crowd on both cores gets, and shares out the rest
    over two workers, a file at a time.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group(item.path.stem))
        if _SERVER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.integration)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run in a loop of its own: a session's server must not belong to one test's loop."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def _served(server: Server, home: Path) -> Iterator[Server]:
    try:
        _run(server.start())
        yield server
    finally:
        _run(server.kill())
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """The session's RabbitMQ."""
    home = tmp_path_factory.mktemp("rabbit")
    yield from _served(RabbitServer(home), home)


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """The session's MongoDB."""
    home = tmp_path_factory.mktemp("mongod")
    yield from _served(MongoServer(home), home)


@pytest.fixture
def own_rabbit(tmp_path: Path) -> Iterator[RabbitServer]:
    """A RabbitMQ for this test alone, running; the test may pause, kill and start it."""
    yield from _served(RabbitServer(tmp_path / "rabbit"), tmp_path / "rabbit")


@pytest.fixture
def own_mongod(tmp_path: Path) -> Iterator[MongoServer]:
    """A MongoDB for this test alone, running; the test may pause, kill and start it."""
    yield from _served(MongoServer(tmp_path / "mongod"), tmp_path / "mongod")


@pytest.fixture
def amqp_url(rabbit: RabbitServer) -> Iterator[str]:
    """The address of a fresh vhost."""
    vhost = f"test-{uuid.uuid4().hex[:12]}"
    manage(rabbit, "PUT", f"/api/vhosts/{vhost}")
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    manage(rabbit, "PUT", f"/api/permissions/{vhost}/{quote(rabbit.user)}", everything)
    yield rabbit.url_for(vhost)
    manage(rabbit, "DELETE", f"/api/vhosts/{vhost}")


@pytest.fixture
def mongo_url(mongod: MongoServer) -> str:
    """The address of the session's MongoDB."""
    return mongod.url


@pytest.fixture
def mongo_db(mongod: MongoServer) -> Iterator[str]:
    """The name of a fresh database."""
    from pymongo import MongoClient

    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    with MongoClient(mongod.url) as client:
        client.drop_database(name)


def manage(rabbit: RabbitServer, method: str, path: str, body: object = None) -> Any:
    """Call RabbitMQ's management API and return its JSON answer, None when it has none."""
    token = base64.b64encode(f"{rabbit.user}:{rabbit.password}".encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(urlsplit(rabbit.management_url).netloc, timeout=30)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read()
    finally:
        connection.close()
    assert response.status < 300, f"{method} {path}: {response.status} {text!r}"
    return json.loads(text) if text else None
