"""RabbitMQ: two connections that stay up, publish with a confirm, subscribe with an ack. The only user of aio_pika.

Publishing and consuming have a connection each: a broker that blocks publishers (memory or disk alarm) must not stop
the acks. Reconnecting is our own loop around plain connections, because everything is rebuilt in one place (topology,
channels, subscriptions) and what belonged to the old connection is dropped whole: the broker delivers it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage

from chassis import logs, metrics
from contracts import topology
from contracts.envelope import CONTENT_TYPE
from contracts.errors import PublishFailed, Unroutable
from contracts.topology import Queue

log = logs.get(__name__)

HEARTBEAT = 10
CONNECT_TIMEOUT = 5.0
ACK_TIMEOUT = 5.0
"""Far longer than an ack takes, and shorter than the heartbeat takes to end a connection on which it takes longer."""


@dataclass(frozen=True)
class Delivery:
    """One message as it came: a batch of events, still encoded."""

    body: bytes
    headers: dict[str, Any]
    published: datetime | None
    deliveries: int
    """How often the broker has tried before, by its own count."""
    _message: AbstractIncomingMessage

    async def ack(self) -> None:
        """Done with it. On a connection that is gone this does nothing: the broker delivers it again.

        While a connection closes, the library raises whatever it closes with (a bare ``Exception`` when we close it
        ourselves), or waits for ever for room in a queue that nobody empties any more. Neither may stop a worker.
        """
        with contextlib.suppress(Exception):
            async with asyncio.timeout(ACK_TIMEOUT):
                await self._message.ack()


@dataclass
class Subscription:
    """What a process wants delivered: a declared work queue, or (``exclusive``) a reply queue of its own."""

    queue: str
    prefetch: int
    receive: Callable[[Delivery], Awaitable[None]]
    exclusive: bool = False
    lost: Callable[[], None] = lambda: None
    """Called when the connection went: undone deliveries are void and will come again."""
    tag: str = ""
    channel: AbstractChannel | None = None
    last_delivery: float = 0.0


class Link:
    """One connection that is made anew, with growing pauses, for as long as the process lives."""

    def __init__(self, url: str, name: str, opened: Callable[[AbstractConnection], Awaitable[None]]) -> None:
        self._url = url
        self._name = name
        self._opened = opened
        self._task: asyncio.Task[None] | None = None
        self._connection: AbstractConnection | None = None
        self._closing = False
        self._broken = asyncio.Event()
        self.up = asyncio.Event()

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name=f"amqp {self._name}")

    def break_(self) -> None:
        """Give this connection up and make a new one: something on it no longer works."""
        self._broken.set()

    @property
    def failed(self) -> bool:
        """It will never connect again: nobody closed it, and yet its task is gone."""
        return self._task is not None and self._task.done() and not self._closing

    async def close(self) -> None:
        self._closing = True
        while self._task and not self._task.done():
            # Once is not enough: the library may take a cancellation for its own while a connection breaks.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=0.5)

    async def _keep(self) -> None:
        pause, first = 0.2, True
        try:
            while True:
                try:
                    await self._connect()
                    pause = 0.2
                except Exception as error:  # whatever it is: if this loop ended, nothing would connect ever again
                    log.warning(
                        "rabbitmq is not reachable", link=self._name, error=repr(error), again_in=round(pause, 1)
                    )
                    await self._disconnect()
                    await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311  # jitter is no secret
                    pause = min(pause * 2, 3.0)
                    continue
                if not first:
                    metrics.reconnects.labels(self._name).inc()
                first = False
                self.up.set()
                await self._broken.wait()
                self.up.clear()
                log.warning("rabbitmq connection lost", link=self._name)
                await self._disconnect()
        finally:
            self.up.clear()
            await self._disconnect()

    async def _connect(self) -> None:
        self._broken = broken = asyncio.Event()
        self._connection = connection = await aio_pika.connect(
            self._url, timeout=CONNECT_TIMEOUT, heartbeat=HEARTBEAT, client_properties={"connection_name": self._name}
        )
        connection.close_callbacks.add(lambda *_: broken.set())
        await asyncio.wait_for(self._opened(connection), 30)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            with contextlib.suppress(Exception):  # it is being thrown away; whatever it says, it goes
                await asyncio.wait_for(connection.close(), 2)


class Bus:
    """Publish and subscribe. ``name`` tells the broker's management page whose connections these are."""

    def __init__(self, url: str, name: str) -> None:
        self._publishing = Link(url, f"{name}.publish", self._publishing_opened)
        self._consuming = Link(url, f"{name}.consume", self._consuming_opened)
        self._exchanges: dict[str, AbstractExchange] = {}
        self.subscriptions: list[Subscription] = []
        self._stopped = False

    @property
    def ready(self) -> bool:
        """Both connections are up and everything is declared and subscribed."""
        return self._publishing.up.is_set() and self._consuming.up.is_set()

    @property
    def failed(self) -> bool:
        """A connection is gone for good: the process should end and be started again."""
        return self._publishing.failed or self._consuming.failed

    async def start(self) -> None:
        """Start connecting; returns at once. ``ready`` tells when it is done."""
        self._publishing.start()
        self._consuming.start()

    async def wait_ready(self) -> None:
        await self._publishing.up.wait()
        await self._consuming.up.wait()

    def subscribe(self, subscription: Subscription) -> None:
        """Add a subscription; to be called before ``start``."""
        self.subscriptions.append(subscription)

    async def stop_consuming(self) -> None:
        """Ask the broker for no more; what is delivered can still be acked."""
        self._stopped = True
        for subscription in self.subscriptions:
            if subscription.channel and subscription.tag:
                with contextlib.suppress(Exception):  # a dead channel delivers no more either
                    queue = await subscription.channel.get_queue(subscription.queue, ensure=False)
                    await queue.cancel(subscription.tag, timeout=2)

    async def close(self) -> None:
        await self._consuming.close()
        await self._publishing.close()

    async def publish(
        self,
        exchange: str,
        key: str,
        body: bytes,
        *,
        headers: dict[str, Any] | None = None,
        within: float = 1.0,
    ) -> None:
        """Publish a batch and wait for the confirm.

        Raises ``Unroutable`` when no queue takes it, ``PublishFailed`` when it is not confirmed within ``within``
        seconds; in the latter case it may have arrived all the same.
        """
        channel = self._exchanges.get(exchange)
        if channel is None:
            metrics.publish_failures.labels("closed").inc()
            raise PublishFailed("not connected to RabbitMQ")
        message = aio_pika.Message(
            body,
            headers=headers,
            content_type=CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            timestamp=datetime.now(UTC),
        )
        try:
            await channel.publish(message, key, timeout=within)
        except aio_pika.exceptions.PublishError as error:
            metrics.publish_failures.labels("returned").inc()
            raise Unroutable(f"no queue takes {key!r}") from error
        except aio_pika.exceptions.DeliveryError as error:
            metrics.publish_failures.labels("nack").inc()
            raise PublishFailed("RabbitMQ refused the message (queue full?)") from error
        except TimeoutError as error:
            metrics.publish_failures.labels("timeout").inc()
            raise PublishFailed(f"not confirmed within {within} s") from error
        except (aiormq.exceptions.AMQPError, ConnectionError, RuntimeError, asyncio.InvalidStateError) as error:
            metrics.publish_failures.labels("closed").inc()
            raise PublishFailed(f"connection lost: {error!r}") from error

    async def consumer_count(self, queue: str) -> tuple[int, int]:
        """(consumers, ready messages) of a queue as the broker sees it. Raises when it cannot be asked."""
        channel = next(s.channel for s in self.subscriptions if s.queue == queue and s.channel)
        declared = await asyncio.wait_for(channel.declare_queue(queue, passive=True), 5)
        result = declared.declaration_result
        return result.consumer_count or 0, result.message_count or 0

    async def ready_messages(self, queue: str) -> int:
        """How many messages wait in a queue, by its name."""
        channel = next(s.channel for s in self.subscriptions if s.channel)
        declared = await asyncio.wait_for(channel.declare_queue(queue, passive=True), 5)
        return declared.declaration_result.message_count or 0

    def last_delivery(self, queue: str) -> float:
        """When the queue's last message came, by the loop's clock."""
        return max(s.last_delivery for s in self.subscriptions if s.queue == queue)

    async def fetch(self, queue: str) -> Delivery | None:
        """Take one message from a queue, or None when it is empty (for redrive and tests, not for consuming)."""
        channel = next(s.channel for s in self.subscriptions if s.channel)
        message = await (await channel.get_queue(queue, ensure=False)).get(fail=False, timeout=5)
        return _delivery(message) if message else None

    async def _publishing_opened(self, connection: AbstractConnection) -> None:
        self._exchanges.clear()
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        channel.close_callbacks.add(lambda *_: self._publishing.break_())
        declared = await declare(channel)
        self._exchanges = {"": channel.default_exchange, **declared}

    async def _consuming_opened(self, connection: AbstractConnection) -> None:
        await self._publishing.up.wait()  # it declares the queues that are consumed here
        for subscription in self.subscriptions:
            subscription.lost()
            channel = await connection.channel()
            channel.close_callbacks.add(lambda *_: self._consuming.break_())
            await channel.set_qos(prefetch_count=subscription.prefetch)
            if subscription.exclusive:
                queue = await channel.declare_queue(subscription.queue, exclusive=True, auto_delete=True)
            else:
                queue = await channel.get_queue(subscription.queue, ensure=False)
            subscription.channel = channel
            if not self._stopped:
                try:
                    subscription.tag = await queue.consume(_receiver(subscription))
                except aiormq.exceptions.ChannelNotFoundEntity:
                    self._publishing.break_()  # somebody deleted the queue: opening declares it anew
                    raise


def _receiver(subscription: Subscription) -> Callable[[AbstractIncomingMessage], Awaitable[Any]]:
    loop = asyncio.get_running_loop()

    async def receive(message: AbstractIncomingMessage) -> None:
        subscription.last_delivery = loop.time()
        await subscription.receive(_delivery(message))

    return receive


def _delivery(message: AbstractIncomingMessage) -> Delivery:
    headers = dict(message.headers or {})
    count = headers.get("x-delivery-count")
    deliveries = count if isinstance(count, int) else int(bool(message.redelivered))
    return Delivery(message.body, headers, message.timestamp, deliveries, message)


async def declare(channel: AbstractChannel) -> dict[str, AbstractExchange]:
    """Declare the whole topology, idempotently; the exchanges by name."""
    exchanges = {
        topology.EVENTS: await channel.declare_exchange(topology.EVENTS, aio_pika.ExchangeType.TOPIC, durable=True),
        topology.COMMANDS: await channel.declare_exchange(
            topology.COMMANDS, aio_pika.ExchangeType.DIRECT, durable=True
        ),
        topology.DEAD: await channel.declare_exchange(topology.DEAD, aio_pika.ExchangeType.DIRECT, durable=True),
    }
    for queue in topology.QUEUES:
        await _declare_queue(channel, queue, exchanges)
    return exchanges


async def _declare_queue(channel: AbstractChannel, queue: Queue, exchanges: dict[str, AbstractExchange]) -> None:
    async def one(name: str, arguments: dict[str, Any]) -> Any:
        try:
            return await channel.declare_queue(name, durable=True, arguments=arguments)
        except aiormq.exceptions.ChannelPreconditionFailed as error:
            log.error(
                "a queue exists with other arguments; nothing was changed",
                queue=name,
                wanted=arguments,
                broker=str(error),
            )
            raise

    parked = await one(queue.dead, topology.dead_arguments())
    await parked.bind(exchanges[topology.DEAD], queue.dead)
    for rung, milliseconds in topology.RUNGS:
        await one(queue.retry(rung), topology.retry_arguments(queue, milliseconds))
    work = await one(queue.name, topology.queue_arguments(queue))
    for key in queue.keys:
        await work.bind(exchanges[queue.exchange], key)
