"""Publisher and consumer on a real RabbitMQ: every event meets its fate, whatever happens to the broker and to us."""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

import pytest

from chassis.amqp import Bus, Delivery, Subscription
from chassis.brake import Brake
from chassis.consumer import Consumer, each
from chassis.publisher import Publication, Publisher, command, direct, fact
from contracts import topology
from contracts.envelope import Event, decode, encode, join, raw
from contracts.errors import Later, PublishFailed, Reject, Retry, Unavailable, Unroutable
from contracts.topology import Queue
from tests.conftest import manage
from tests.integration.gateway_stage import until
from tests.unit.contracts.test_envelope import event
from weir.local.rabbit import RabbitServer

WORK = Queue("work", topology.EVENTS, ("question.#",))
OTHER = Queue("other", topology.EVENTS, ("entry.#",))
RESULT = Queue("result", topology.COMMANDS, ("result",))


@pytest.fixture(autouse=True)
def small_topology(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three queues, and a ladder that is climbed in a second."""
    queues = (WORK, OTHER, RESULT)
    monkeypatch.setattr(topology, "QUEUES", queues)
    monkeypatch.setattr(topology, "BY_NAME", {queue.name: queue for queue in queues})
    monkeypatch.setattr(topology, "RUNGS", (("5s", 100), ("1m", 200), ("10m", 300)))


class Stage:
    """One process: a bus, a publisher, consumers of the test's own."""

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        self.bus = Bus(url, "test")
        self.publisher = Publisher(self.bus, timeout=timeout)
        self.consumers: list[Consumer] = []
        self.seen: list[Event] = []

    def consume(
        self, handler: Callable[[Event], Awaitable[list[Publication]]], queue: Queue = WORK, **more: Any
    ) -> Consumer:
        async def noted(one: Event) -> list[Publication]:
            self.seen.append(one)
            return await handler(one)

        consumer = Consumer(self.bus, self.publisher, queue, each(noted), **more)
        self.consumers.append(consumer)
        return consumer

    async def start(self) -> "Stage":
        if not self.bus.subscriptions:  # for fetching, as redrive does it

            async def ignore(_delivery: Delivery) -> None:
                return

            self.bus.subscribe(Subscription("", 1, ignore, exclusive=True))
        await self.bus.start()
        for consumer in self.consumers:
            await consumer.start()
        await asyncio.wait_for(self.bus.wait_ready(), 30)
        return self

    async def close(self) -> None:
        await self.bus.stop_consuming()
        await asyncio.gather(*(consumer.drain() for consumer in self.consumers))
        await self.bus.close()

    async def put(self, *numbers: int, **changes: Any) -> None:
        for number in numbers:
            await self.publisher.publish(fact(numbered(number, **changes)))

    async def all_of(self, queue: str, count: int, seconds: float = 15) -> list[Delivery]:
        """Take this many messages off a queue."""
        found: list[Delivery] = []
        async with asyncio.timeout(seconds):
            while len(found) < count:
                delivery = await self.bus.fetch(queue)
                if delivery is None:
                    await asyncio.sleep(0.05)
                    continue
                await delivery.ack()
                found.append(delivery)
        return found

    @property
    def counts(self) -> Counter[str]:
        return Counter(one.id for one in self.seen)


def numbered(number: int, **changes: Any) -> Event:
    return event(
        **{"id": f"event-{number}", "lane": "question", "type": "wechat.message.text", "data": raw(number)} | changes
    )


Make = Callable[..., Stage]


@pytest.fixture
async def stages(amqp_url: str) -> AsyncIterator[Make]:
    made: list[Stage] = []

    def make(url: str = amqp_url, **more: Any) -> Stage:
        made.append(Stage(url, **more))
        return made[-1]

    yield make
    for stage in made:
        await stage.close()


async def nothing(_event: Event) -> list[Publication]:
    return []


# -- publishing ----------------------------------------------------------------------------------------------------


async def test_events_arrive_in_order_and_confirmed(stages: Make) -> None:
    stage = await stages().start()
    futures = [
        stage.publisher.put(encode(numbered(number)), topology.EVENTS, "question.wechat.message.text")
        for number in range(2000)
    ]
    await asyncio.gather(*set(futures))
    bodies = [delivery.body for delivery in await stage.all_of("work", 16)]
    found = [item.id for body in bodies for item in decode(body)]
    assert found == [f"event-{number}" for number in range(2000)]
    assert await stage.bus.fetch("work") is None


async def test_where_no_queue_takes_it_is_known_at_once(stages: Make) -> None:
    stage = await stages().start()
    with pytest.raises(Unroutable):
        await stage.publisher.publish(direct("gateway.reply.gone", numbered(1)))
    with pytest.raises(Unroutable):
        await stage.publisher.publish(command("no.such.order", numbered(1)))
    assert stage.publisher.healthy


async def test_what_takes_the_place_of_an_unroutable_one_is_published(stages: Make) -> None:
    stage = stages()

    async def handler(one: Event) -> list[Publication]:
        return [direct("gateway.reply.gone", one, otherwise=lambda: command("result", one))]

    stage.consume(handler)
    await stage.start()
    await stage.put(1)
    (delivery,) = await stage.all_of("result", 1)
    assert [item.id for item in decode(delivery.body)] == ["event-1"]


async def test_before_the_bus_is_there_a_publish_fails_at_once(stages: Make) -> None:
    stage = stages("amqp://guest:guest@127.0.0.1:9/")
    started = time.monotonic()
    with pytest.raises(PublishFailed, match="not connected"):
        await stage.put(1)
    assert time.monotonic() - started < 0.5
    assert not stage.publisher.healthy


async def test_a_key_that_amqp_cannot_carry_fails_and_blocks_nobody(stages: Make) -> None:
    stage = await stages().start()
    with pytest.raises(PublishFailed):
        await stage.publisher.put(encode(numbered(1)), topology.EVENTS, "question." + "x" * 300)
    await stage.put(2)
    assert stage.publisher.healthy


# -- fates ---------------------------------------------------------------------------------------------------------


async def test_what_a_handler_returns_is_published_before_the_ack(stages: Make) -> None:
    stage = stages()

    async def handler(one: Event) -> list[Publication]:
        return [command("result", numbered(100 + int(bytes(one.data)), cause=one.id))]

    stage.consume(handler)
    await stage.start()
    await stage.put(1, 2, 3)
    found = [item for delivery in await stage.all_of("result", 1) for item in decode(delivery.body)]
    while len(found) < 3:
        found += [item for delivery in await stage.all_of("result", 1) for item in decode(delivery.body)]
    assert sorted(item.cause for item in found) == ["event-1", "event-2", "event-3"]
    await until(lambda: stage.consumers[0].idle)
    assert await stage.bus.ready_messages("work") == 0


async def test_retry_goes_round_the_ladder_and_dies_with_its_reasons(stages: Make) -> None:
    stage = stages()
    moments: list[float] = []

    async def handler(_event: Event) -> list[Publication]:
        moments.append(time.monotonic())
        raise Retry("store_busy", "the store said secret=hunter2 no")

    stage.consume(handler)
    await stage.start()
    await stage.put(1)
    (dead,) = await stage.all_of("work.dead", 1)
    assert len(moments) == topology.MAX_ATTEMPTS == 4
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert all(gap >= rung / 1000 for gap, (_, rung) in zip(gaps, topology.RUNGS, strict=True))
    assert [one.attempt for one in stage.seen] == [0, 1, 2, 3]
    assert dead.headers["weir-reason"] == "store_busy"
    assert dead.headers["weir-attempts"] == 4
    assert dead.headers["weir-queue"] == "work"
    assert "noted" in dead.headers["weir-handler"] or "handle" in dead.headers["weir-handler"]
    assert "store_busy" in dead.headers["weir-traceback"] or "Retry" in dead.headers["weir-traceback"]
    assert "Traceback" in dead.headers["weir-traceback"]
    assert dead.headers["weir-first-seen"].startswith("20")
    assert "hunter2" not in str(dead.headers)
    (parked,) = decode(dead.body)
    assert (parked.id, bytes(parked.data)) == ("event-1", b"1")


async def test_any_other_error_counts_as_retry(stages: Make) -> None:
    stage = stages()

    async def handler(one: Event) -> list[Publication]:
        if one.attempt < 2:
            raise KeyError("Content")
        return []

    stage.consume(handler)
    await stage.start()
    await stage.put(1)
    await until(lambda: len(stage.seen) == 3)
    await until(lambda: stage.consumers[0].idle)
    assert await stage.bus.ready_messages("work.dead") == 0


@pytest.mark.parametrize("words", ["odd", "half a pair: \ud83d", "长" * 3000])
async def test_reject_dies_at_once_and_takes_nobody_along(stages: Make, words: str) -> None:
    stage = stages()

    async def handler(one: Event) -> list[Publication]:
        if one.id == "event-7":
            raise Reject("odd", words)
        return []

    stage.consume(handler)
    await stage.start()
    await asyncio.gather(*(stage.put(number) for number in range(20)))
    (dead,) = await stage.all_of("work.dead", 1)
    assert [item.id for item in decode(dead.body)] == ["event-7"]
    assert (dead.headers["weir-reason"], dead.headers["weir-attempts"]) == ("odd", 1)
    await until(lambda: len(stage.seen) == 20)
    assert set(stage.counts.values()) == {1}
    assert not stage.consumers[0].failed


async def test_later_waits_and_uses_up_no_attempt(stages: Make) -> None:
    stage = stages()

    async def handler(one: Event) -> list[Publication]:
        if len(stage.seen) <= topology.MAX_ATTEMPTS + 2:
            raise Later("early", 0.05)
        return []

    stage.consume(handler)
    await stage.start()
    await stage.put(1)
    await until(lambda: len(stage.seen) == topology.MAX_ATTEMPTS + 3)
    assert {one.attempt for one in stage.seen} == {0}
    await until(lambda: stage.consumers[0].idle)
    assert await stage.bus.ready_messages("work.dead") == 0


async def test_unavailable_waits_in_place(stages: Make) -> None:
    """The store is away: nothing is retried, nothing dies, and when it is back everything goes on."""
    stage = stages()
    away = True

    async def handler(_event: Event) -> list[Publication]:
        if away:
            raise Unavailable("mongodb")
        return []

    stage.consume(handler)
    await stage.start()
    await stage.put(1, 2)
    await until(lambda: stage.counts["event-1"] >= 3)
    assert await stage.bus.ready_messages("work.retry.5s") == 0
    away = False
    await until(lambda: stage.consumers[0].idle)
    assert {one.attempt for one in stage.seen} == {0}
    for name in ("work.dead", "work.retry.5s"):
        assert await stage.bus.ready_messages(name) == 0


async def test_an_undecodable_body_dies_whole(stages: Make) -> None:
    stage = stages()
    stage.consume(nothing)
    await stage.start()
    await stage.bus.publish("", "work", b"not json")
    await stage.put(1)
    (dead,) = await stage.all_of("work.dead", 1)
    assert dead.headers["weir-reason"] == "undecodable"
    assert b"not json" in dead.body
    await until(lambda: stage.counts["event-1"] == 1)


async def test_one_bad_event_does_not_take_its_batch_along(stages: Make) -> None:
    stage = stages()
    stage.consume(nothing)
    await stage.start()
    await stage.bus.publish("", "work", join([encode(numbered(1)), b'{"specversion":"1.0"}', encode(numbered(2))]))
    (dead,) = await stage.all_of("work.dead", 1)
    assert dead.body == b'[{"specversion":"1.0"}]'
    await until(lambda: stage.counts.keys() == {"event-1", "event-2"})
    await until(lambda: stage.consumers[0].idle)
    assert await stage.bus.ready_messages("work") == 0


async def test_a_dead_letter_that_the_broker_refuses_is_not_lost(
    stages: Make, rabbit: RabbitServer, amqp_url: str
) -> None:
    """The parking queue is gone: the event stays with its queue until there is one again."""
    vhost = amqp_url.rpartition("/")[2]
    stage = stages()

    async def handler(_event: Event) -> list[Publication]:
        raise Reject("odd")

    stage.consume(handler)
    await stage.start()
    manage(rabbit, "DELETE", f"/api/queues/{vhost}/work.dead")
    await stage.put(1)
    await until(lambda: stage.counts["event-1"] >= 1)
    await asyncio.sleep(0.5)
    assert not stage.consumers[0].idle
    other = await stages().start()  # declares what is missing
    (dead,) = await other.all_of("work.dead", 1)
    assert [item.id for item in decode(dead.body)] == ["event-1"]
    await until(lambda: stage.consumers[0].idle)


# -- order of queues, brake ----------------------------------------------------------------------------------------


async def test_questions_go_first(stages: Make) -> None:
    feeder = await stages().start()
    for number in range(40):
        await feeder.publisher.publish(fact(numbered(number)))
        await feeder.publisher.publish(fact(numbered(1000 + number, lane="entry")))
    stage = stages()

    async def handler(_event: Event) -> list[Publication]:
        await asyncio.sleep(0.005)
        return []

    first = stage.consume(handler, prefetch=40)
    stage.consume(handler, OTHER, prefetch=40, after=first)
    await stage.start()
    await until(lambda: len(stage.seen) == 80, 30)
    questions = [place for place, one in enumerate(stage.seen) if one.lane == "question"]
    assert sum(questions) / 40 < 30, "questions came in the middle of entries"


async def test_a_stream_of_questions_does_not_starve_entries(stages: Make) -> None:
    stage = stages()
    busy = asyncio.Event()

    async def hold(_event: Event) -> list[Publication]:
        await busy.wait()
        return []

    first = stage.consume(hold)
    stage.consume(nothing, OTHER, after=first)
    await stage.start()
    await stage.put(1)
    await until(lambda: stage.counts["event-1"])
    await stage.put(2, lane="entry")
    await until(lambda: stage.counts["event-2"], 5)
    busy.set()


async def test_the_brake_keeps_a_bad_deploy_from_emptying_the_queue(stages: Make) -> None:
    stage = stages()

    async def handler(_event: Event) -> list[Publication]:
        raise Reject("odd")

    brake = Brake("work", limit=5, hold=60)
    stage.consume(handler, brake=brake)
    await stage.start()
    await stage.put(*range(30))
    await until(lambda: brake.on)
    await stage.all_of("work.dead", 5)
    assert await stage.bus.fetch("work.dead") is None
    assert len(stage.seen) == 5


async def test_some_poison_in_each_batch_does_not_brake(stages: Make) -> None:
    stage = stages()

    async def handler(one: Event) -> list[Publication]:
        if int(bytes(one.data)) % 3:
            raise Reject("odd")
        return []

    brake = Brake("work", limit=10, hold=60)
    stage.consume(handler, brake=brake)
    await stage.start()
    for start in range(0, 90, 30):
        await stage.bus.publish("", "work", join([encode(numbered(start + number)) for number in range(30)]))
    await until(lambda: len(stage.seen) == 90)
    await stage.all_of("work.dead", 60)
    assert not brake.on


# -- outages -------------------------------------------------------------------------------------------------------


def connections(rabbit: RabbitServer, name: str) -> list[str]:
    return [
        one["name"]
        for one in manage(rabbit, "GET", "/api/connections")
        if one.get("client_properties", {}).get("connection_name", "").startswith(name)
    ]


async def feed(stage: Stage, count: int) -> None:
    """Publish until confirmed, as often as it takes."""
    for number in range(count):
        while True:
            try:
                await stage.put(number)
                break
            except PublishFailed:
                await asyncio.sleep(0.05)


async def test_connections_closed_in_the_middle_lose_nothing(stages: Make, rabbit: RabbitServer) -> None:
    stage = stages(timeout=1.0)

    async def handler(one: Event) -> list[Publication]:
        await asyncio.sleep(0.002)
        return [command("result", numbered(int(bytes(one.data)), id=f"of-{one.id}"))]

    stage.consume(handler, prefetch=20, workers=3)
    await stage.start()
    feeding = asyncio.create_task(feed(stage, 400))
    closed = 0
    while not feeding.done() or closed < 3:
        await asyncio.sleep(0.5)
        for name in await asyncio.to_thread(connections, rabbit, "test."):
            with contextlib.suppress(AssertionError):  # gone by itself meanwhile
                await asyncio.to_thread(manage, rabbit, "DELETE", f"/api/connections/{quote(name, safe='')}")
        closed += 1
        assert closed < 60
        if closed >= 4:
            await feeding
    await until(lambda: len(stage.counts) == 400, 40)
    await until(lambda: stage.consumers[0].idle and stage.bus.ready, 20)
    done: set[str] = set()
    async with asyncio.timeout(20):
        while len(done) < 400:
            (delivery,) = await stage.all_of("result", 1)
            done |= {item.id for item in decode(delivery.body)}
    assert done == {f"of-event-{number}" for number in range(400)}
    assert not stage.consumers[0].failed
    assert not stage.bus.failed


async def test_a_broker_killed_in_the_middle_loses_nothing(stages: Make, own_rabbit: RabbitServer) -> None:
    stage = stages(own_rabbit.url, timeout=1.0)
    stage.consume(nothing, prefetch=20, workers=2)
    await stage.start()
    await asyncio.sleep(1.5)  # 3.10 does not survive a kill in the first second of a quorum queue
    feeding = asyncio.create_task(feed(stage, 300))
    await until(lambda: len(stage.seen) > 50)
    await own_rabbit.kill()
    await until(lambda: not stage.bus.ready)
    started = time.monotonic()
    with pytest.raises(PublishFailed):
        await stage.put(9999)
    assert time.monotonic() - started < 1.5
    await own_rabbit.start()
    back = time.monotonic()
    await until(lambda: stage.bus.ready, 30)
    assert time.monotonic() - back < 15
    await asyncio.wait_for(feeding, 60)
    await until(lambda: {f"event-{number}" for number in range(300)} <= stage.counts.keys(), 30)
    assert not stage.bus.failed


async def test_a_frozen_broker_costs_one_time_out(stages: Make, own_rabbit: RabbitServer) -> None:
    stage = stages(own_rabbit.url, timeout=0.5)
    stage.consume(nothing)
    await stage.start()
    await stage.put(1)
    own_rabbit.pause()
    try:
        started = time.monotonic()
        with pytest.raises(PublishFailed):
            await stage.put(2)
        assert time.monotonic() - started < 1.0
        assert not stage.publisher.healthy
    finally:
        own_rabbit.resume()
    await until(lambda: stage.bus.ready, 40)
    await asyncio.wait_for(feed(stage, 3), 30)
    assert stage.publisher.healthy
    await until(lambda: stage.counts["event-0"] >= 1, 20)


async def test_a_memory_alarm_stops_publishers_and_not_consumers(stages: Make, own_rabbit: RabbitServer) -> None:
    stage = stages(own_rabbit.url, timeout=0.5)
    gate = asyncio.Event()

    async def handler(_event: Event) -> list[Publication]:
        await gate.wait()
        return []

    stage.consume(handler, prefetch=1)
    await stage.start()
    await stage.put(*range(10))
    await asyncio.to_thread(own_rabbit.ctl, "set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        with pytest.raises(PublishFailed):
            await stage.put(*range(100, 120))
        gate.set()
        await until(lambda: {f"event-{number}" for number in range(10)} <= stage.counts.keys())
    finally:
        await asyncio.to_thread(own_rabbit.ctl, "set_vm_memory_high_watermark", "absolute", "1GB")
    await asyncio.wait_for(feed(stage, 3), 60)
    assert stage.publisher.healthy


async def test_a_queue_deleted_under_us_is_declared_and_consumed_again(
    stages: Make, rabbit: RabbitServer, amqp_url: str
) -> None:
    vhost = amqp_url.rpartition("/")[2]
    stage = stages()
    stage.consume(nothing)
    await stage.start()
    manage(rabbit, "DELETE", f"/api/queues/{vhost}/work")
    with pytest.raises(Exception, match="work"):  # the watchdog's question, which finds out
        await stage.bus.consumer_count("work")
    await asyncio.wait_for(feed(stage, 1), 20)
    await until(lambda: stage.counts["event-0"], 20)
    assert (await stage.bus.consumer_count("work"))[0] == 1


# -- stopping ------------------------------------------------------------------------------------------------------


async def test_draining_finishes_what_is_in_hand_and_leaves_the_rest_in_the_queue(stages: Make) -> None:
    feeder = await stages().start()
    await feeder.put(*range(20))
    stage = Stage(feeder.bus._publishing._url)
    gate = asyncio.Event()

    async def handler(one: Event) -> list[Publication]:
        await gate.wait()
        return [command("result", one)]

    stage.consume(handler, prefetch=10, workers=2)
    await stage.start()
    await until(lambda: len(stage.seen) == 2)
    closing = asyncio.create_task(stage.close())
    await asyncio.sleep(0.2)
    assert not closing.done()
    gate.set()
    await asyncio.wait_for(closing, 8)
    assert len(stage.seen) == 2
    left = {item.id for delivery in await feeder.all_of("work", 18) for item in decode(delivery.body)}
    assert left == {f"event-{number}" for number in range(20)} - stage.counts.keys()
    assert await feeder.bus.fetch("work") is None


async def test_draining_does_not_wait_for_a_store_that_is_away(stages: Make) -> None:
    feeder = await stages().start()
    await feeder.put(1)
    stage = Stage(feeder.bus._publishing._url)

    async def handler(_event: Event) -> list[Publication]:
        raise Unavailable("mongodb")

    stage.consume(handler)
    await stage.start()
    await until(lambda: len(stage.seen) >= 2)
    await asyncio.wait_for(stage.close(), 8)
    (delivery,) = await feeder.all_of("work", 1)
    assert [item.id for item in decode(delivery.body)] == ["event-1"]


async def test_a_batch_that_kills_its_consumer_again_and_again_is_taken_apart(stages: Make, amqp_url: str) -> None:
    """A poison that ends the process: nothing of ours survives to count, but the broker counts deliveries."""
    feeder = await stages().start()
    body = join([encode(numbered(number)) for number in range(5)])
    await feeder.bus.publish("", "work", body)
    for _ in range(4):
        dying = Stage(amqp_url)
        never = asyncio.Event()

        async def handler(_event: Event, never: asyncio.Event = never) -> list[Publication]:
            await never.wait()
            return []

        dying.consume(handler)
        await dying.start()
        await until(lambda dying=dying: dying.consumers[0]._busy or dying.consumers[0].idle)
        await asyncio.sleep(0.1)
        for task in dying.consumers[0]._tasks:
            task.cancel()
        await dying.bus.close()
    stage = stages()
    alone: list[int] = []

    async def batch(events: list[Event]) -> list[Any]:
        alone.append(len(events))
        stage.seen.extend(events)
        return [[] for _ in events]

    stage.consumers.append(Consumer(stage.bus, stage.publisher, WORK, batch))
    await stage.start()
    await until(lambda: len(stage.counts) == 5)
    assert set(alone) == {1}


async def test_closing_ends_though_the_broker_died_in_the_same_moment(stages: Make, own_rabbit: RabbitServer) -> None:
    stage = Stage(own_rabbit.url)
    stage.consume(nothing)
    await stage.start()
    own_rabbit.kill_now()
    time.sleep(0.5)  # the loop must not have seen it when we close
    started = time.monotonic()
    await asyncio.wait_for(stage.close(), 20)
    assert time.monotonic() - started < 8
