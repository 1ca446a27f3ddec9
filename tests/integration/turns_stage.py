"""All of Weir that a conversation needs, in the test's own process: sandbox, gateway, autoreply, courier, history, agent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from chassis.lifecycle import Process
from chassis.mongo import connect
from chassis.publisher import Publisher
from chassis.settings import Settings
from services.agent.app import build as build_agent
from services.autoreply.app import build as build_autoreply
from services.gateway.accounts import Account, AccountRepository
from services.gateway.app import build as build_gateway
from services.gateway.courier.app import build as build_courier
from services.history.app import build as build_history
from tests.integration import courier_stage
from tests.integration.gateway_stage import start, stop, until

TOKEN = courier_stage.TOKEN


@dataclass
class Whole:
    """Everything, running."""

    sandbox: courier_stage.Sandbox
    parts: dict[str, Process]
    publisher: Publisher
    database: Any
    http: aiohttp.ClientSession

    async def follower(self) -> str:
        (openid,) = await self.sandbox.followers(1)
        return openid

    async def says(self, openid: str, content: str) -> None:
        """A follower writes, and WeChat has got its answer to that."""
        await self.sandbox.call("POST", f"followers/{openid}/messages?wait=10", {"type": "text", "content": content})

    async def shown(self, openid: str) -> list[str]:
        """The texts on the follower's phone, as they came."""
        return [message.get("content", "") for message in await self.sandbox.inbox(openid)]

    async def found(self, collection: str, wanted: dict[str, Any], count: int = 1) -> list[dict[str, Any]]:
        """Wait for documents."""
        found: list[dict[str, Any]] = []

        async def there() -> bool:
            found[:] = await self.database[collection].find(wanted).to_list(None)
            return len(found) >= count

        await courier_stage.until(there)
        return found

    def url(self, part: str) -> str:
        return f"http://127.0.0.1:{self.parts[part].runner.addresses[0][1]}"

    async def idle(self) -> None:
        """Wait until no consumer has anything to do."""
        consumers = [consumer for part in self.parts.values() for consumer in part.consumers]
        await until(lambda: all(consumer.idle for consumer in consumers), what="every consumer is idle")


@asynccontextmanager
async def whole(directory: Path, amqp_url: str, mongo_url: str, mongo_db: str, rules: str) -> AsyncIterator[Whole]:
    (directory / "rules").mkdir()
    (directory / "rules" / "demo.yaml").write_text(rules, encoding="utf-8")
    settings = Settings(
        amqp_url=amqp_url,
        mongodb_url=mongo_url,
        mongodb_database=mongo_db,
        admin_token=TOKEN,
        http_port=0,
        journal_dir=directory / "journal",
        triage_file=directory / "triage.yaml",
        rules_dir=directory / "rules",
        history_url="http://127.0.0.1:9",
    )
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        client, database = connect(mongo_url, mongo_db, name="test")
        stack.callback(client.close)
        parts: dict[str, Process] = {}
        builders = {
            "gateway": build_gateway,
            "agent": build_agent,
            "history": build_history,
            "courier": build_courier,
            "autoreply": build_autoreply,
        }
        for name, build in builders.items():
            parts[name] = process = await build(settings)
            stack.push_async_callback(stop, process, await start(process))
        await asyncio.gather(*(asyncio.wait_for(part.bus.wait_ready(), 30) for part in parts.values()))
        gateway = f"http://127.0.0.1:{parts['gateway'].runner.addresses[0][1]}/wechat/demo"
        sandbox = await stack.enter_async_context(courier_stage.sandbox(directory, http, gateway))
        await AccountRepository(database).put(
            Account(
                name="demo",
                appid=courier_stage.APPID,
                secret=courier_stage.SECRET,
                token="token123",
                original_id="gh_123456789abc",
                mode="plain",
                api_base=sandbox.url,
            )
        )
        yield Whole(sandbox, parts, parts["autoreply"].publisher, database, http)
