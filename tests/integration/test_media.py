"""The media library on a real MongoDB, with the sandbox as WeChat: uploaded, sent, forgotten by WeChat, sent again."""

import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from courier_stage import TOKEN, Stage, courier, send, stage, until

from chassis.mediatable import MediaTable
from contracts.content import Image
from services.gateway.courier.media import MediaStore

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 2, 2) + bytes(9)


@pytest.fixture
async def on(tmp_path: Path, amqp_url: str, mongo_url: str, mongo_db: str) -> AsyncIterator[Stage]:
    async with stage(tmp_path, amqp_url, mongo_url, mongo_db) as standing:
        yield standing


async def test_media_is_uploaded_by_itself_and_again_when_wechat_has_forgotten_it(on: Stage) -> None:
    store = MediaStore(on.database, lambda: datetime.now(UTC), "test")
    table = MediaTable(on.database)

    async def row() -> dict[str, Any]:
        return await store.get("demo", "map") or {}

    async with courier(on) as one:
        address = f"{one.url}/api/media/demo/map"
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        for wrong, status, code in (
            (b"no picture", 422, "media_type"),
            (PNG + bytes(10 << 20), 413, "media_too_large"),
        ):
            async with on.http.put(address, data=wrong, headers=bearer) as response:
                assert (response.status, (await response.json())["code"]) == (status, code)
        async with on.http.put(address, data=PNG + bytes(200_000), headers=bearer) as response:
            added = await response.json()
            assert (response.status, added["kind"], added["width"]) == (200, "image", 2)
        async with on.http.get(f"{address}/content", headers=bearer) as response:
            assert await response.read() == PNG + bytes(200_000)

        async def ready() -> bool:
            return bool((await row()).get("media_id"))

        await until(ready)
        first = (await row())["media_id"]
        await table.look()
        assert table.resolve("demo", Image(media="map")) == Image(first)
        assert await table.names("demo") == {"map"}

        # WeChat forgets the id while our row still calls it good: the send finds that out, and is sent once.
        await on.sandbox.call("POST", "clock", {"advance": 3 * 86_400})
        await on.database.media.update_one(
            {"_id": "demo|map"}, {"$set": {"uploaded_at": datetime(2026, 1, 1, tzinfo=UTC)}}
        )
        (openid,) = await on.sandbox.writing(1)
        await on.order("reply", send(openid, "by-name", content=Image(media="map")))
        assert await on.settled(1) == {"sent": 1}
        second = (await row())["media_id"]
        assert second != first
        # Content that was made with the old id is sent with the present one.
        await on.order("reply", send(openid, "by-old-id", content=Image(first)))
        assert await on.settled(2) == {"sent": 2}
        assert [entry["media_id"] for entry in await on.sandbox.inbox(openid)] == [second, second]

        # An id that ended by our own clock is renewed by the keeper, without a send.
        await on.database.media.update_one(
            {"_id": "demo|map"}, {"$set": {"expires_at": datetime(2026, 1, 1, tzinfo=UTC)}}
        )

        async def renewed() -> bool:
            return (await row())["media_id"] != second

        await until(renewed)

        await on.order("reply", send(openid, "no-such", content=Image(media="other")))
        assert await on.settled(3) == {"sent": 2, "failed": 1}
        assert "no media 'other'" in (await on.row("no-such"))["reason"]

        await on.database.rules_live.insert_one({"_id": "demo", "media": ["map"]})
        async with on.http.delete(address, headers=bearer) as response:
            assert response.status == 409
        await on.database.rules_live.delete_one({"_id": "demo"})
        async with on.http.delete(address, headers=bearer) as response:
            assert response.status == 204
        assert (await on.get(one.url, "/api/media", account="demo"))["media"] == []
