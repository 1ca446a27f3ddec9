"""The private servers: ready when they say so, back with their data after kill -9, and nothing left behind."""

import asyncio
import time

import aio_pika
import pytest
from pymongo import MongoClient

from weir.local.mongo import MongoServer
from weir.local.rabbit import RabbitServer


async def on_disk(server: RabbitServer, queue: str) -> None:
    """Wait until RabbitMQ 3.10 has written the name of a new queue, about a second; a kill before that loses the queue."""
    names = server.data_dir / "mnesia/weir@localhost/quorum/weir@localhost/names.dets"
    async with asyncio.timeout(10):
        while f"%2F_{queue}".encode() not in names.read_bytes():
            await asyncio.sleep(0.05)


async def put(url: str, queue: str, body: bytes) -> None:
    async with await aio_pika.connect(url, timeout=10) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(body, delivery_mode=2), queue)


async def take(url: str, queue: str) -> bytes:
    async with await aio_pika.connect(url, timeout=10) as connection:
        channel = await connection.channel()
        again = await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
        message = await again.get(timeout=10)
        await message.ack()
        return message.body


async def test_a_vhost_takes_messages(amqp_url: str) -> None:
    await put(amqp_url, "q", b"kept")
    assert await take(amqp_url, "q") == b"kept"


def test_a_database_is_a_primary_with_transactions(mongo_url: str, mongo_db: str) -> None:
    with MongoClient(mongo_url) as client:
        client[mongo_db].create_collection("c")
        with client.start_session() as session, session.start_transaction():
            client[mongo_db]["c"].insert_one({"_id": 1}, session=session)
        assert client[mongo_db]["c"].count_documents({}) == 1


async def test_rabbitmq_keeps_messages_and_address_over_kill_9(own_rabbit: RabbitServer) -> None:
    url, first = own_rabbit.url, own_rabbit.pid
    await put(url, "q", b"kept")
    await on_disk(own_rabbit, "q")
    await own_rabbit.kill()
    await own_rabbit.start()
    assert own_rabbit.pid != first
    assert own_rabbit.url == url
    assert await take(url, "q") == b"kept"


async def test_mongod_keeps_documents_and_address_over_kill_9(own_mongod: MongoServer) -> None:
    url = own_mongod.url
    with MongoClient(url) as client:
        client["d"]["c"].insert_one({"_id": 1})
    await own_mongod.kill()
    await own_mongod.start()
    assert own_mongod.url == url
    with MongoClient(url) as client:
        assert client["d"]["c"].find_one() == {"_id": 1}


def test_vhosts_are_fresh_and_quick(rabbit: RabbitServer, request: pytest.FixtureRequest) -> None:
    started = time.monotonic()
    request.getfixturevalue("amqp_url")
    assert time.monotonic() - started < 2.0  # usually a tenth of that; two busy cores are shared with others
