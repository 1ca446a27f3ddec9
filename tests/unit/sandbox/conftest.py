"""A sandbox on a free port with a clock that stands still, and a callback server of the test's own."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from boxes import NOON, Box, BoxMaker, Shop

from sandbox.app import create_app
from sandbox.clock import Clock
from sandbox.world import World


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    await shop.start()
    yield shop
    await shop.server.close()


@pytest.fixture
async def open_box() -> AsyncIterator[BoxMaker]:
    """Starts sandboxes with given settings; all are closed in the end."""
    opened: list[tuple[TestServer, aiohttp.ClientSession]] = []

    async def start(**settings: Any) -> Box:
        holder: list[Box] = []
        world = World(Clock(lambda: holder[0].wall if holder else NOON))
        server = TestServer(create_app(world, **{"retry_pause": 0.0, **settings}), shutdown_timeout=0.5)
        await server.start_server()
        http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        opened.append((server, http))
        holder.append(Box(server, http, world))
        return holder[0]

    yield start
    for server, http in opened:
        await http.close()
        await server.close()


@pytest.fixture
async def box(open_box: BoxMaker, shop: Shop) -> Box:
    """A sandbox with the account `demo` (plain, XML) whose callbacks go to the test's server."""
    box = await open_box()
    await box.account(url=shop.url, mode="plain")
    return box
