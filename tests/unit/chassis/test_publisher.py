"""Group commit, on a bus of the test's own that confirms when the test says so."""

import asyncio
import time
from typing import Any

import pytest

from chassis.publisher import MAX_OUTSTANDING, Publisher, command, direct, fact
from contracts.envelope import MAX_BYTES, MAX_EVENTS, decode
from contracts.errors import PublishFailed, Unroutable
from tests.unit.contracts.test_envelope import event


class HeldBus:
    """Keeps every publish until the test confirms or fails it."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, bytes]] = []
        self.open: list[asyncio.Future[None]] = []

    async def publish(
        self, exchange: str, key: str, body: bytes, *, headers: dict[str, Any] | None = None, within: float = 1.0
    ) -> None:
        self.sent.append((exchange, key, body))
        confirm = asyncio.get_running_loop().create_future()
        self.open.append(confirm)
        await confirm

    def end(self, number: int, error: BaseException | None = None) -> None:
        if error is None:
            self.open[number].set_result(None)
        else:
            self.open[number].set_exception(error)

    def numbers(self) -> list[list[int]]:
        """The messages sent, each as the numbers in its events."""
        return [[item.attempt for item in decode(body)] for _, _, body in self.sent]


@pytest.fixture
def bus() -> HeldBus:
    return HeldBus()


@pytest.fixture
def publisher(bus: HeldBus) -> Publisher:
    return Publisher(bus)


def put(publisher: Publisher, number: int, key: str = "q", size: int = 0) -> asyncio.Future[None]:
    from contracts.envelope import encode

    return publisher.put(encode(event(attempt=number, cause="x" * size)), "weir.events", key)


async def turns(count: int = 5) -> None:
    """Let the publisher's tasks run; it waits for nothing but the bus."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_single_leaves_at_once(bus: HeldBus, publisher: Publisher) -> None:
    confirmed = put(publisher, 1)
    await turns()
    assert bus.numbers() == [[1]]
    assert not confirmed.done()
    bus.end(0)
    await confirmed


async def test_what_comes_in_one_turn_leaves_together(bus: HeldBus, publisher: Publisher) -> None:
    futures = {put(publisher, number) for number in range(3)}
    await turns()
    assert bus.numbers() == [[0, 1, 2]]
    assert len(futures) == 1


async def test_while_a_confirm_is_outstanding_events_gather(bus: HeldBus, publisher: Publisher) -> None:
    put(publisher, 0)
    await turns()
    for number in range(1, 6):
        put(publisher, number)
        await turns()
    assert bus.numbers() == [[0]]
    bus.end(0)
    await turns()
    assert bus.numbers() == [[0], [1, 2, 3, 4, 5]]


async def test_places_do_not_wait_for_each_other(bus: HeldBus, publisher: Publisher) -> None:
    put(publisher, 0, "question.a")
    put(publisher, 1, "entry.b")
    await turns()
    assert sorted(bus.numbers()) == [[0], [1]]


async def test_a_batch_has_at_most_128_events_and_order_is_kept(bus: HeldBus, publisher: Publisher) -> None:
    futures = [put(publisher, number) for number in range(1000)]
    while not all(future.done() for future in futures):
        await turns()
        for confirm in bus.open:
            if not confirm.done():
                confirm.set_result(None)
    assert MAX_EVENTS == 128
    assert all(len(batch) <= MAX_EVENTS for batch in bus.numbers())
    assert [number for batch in bus.numbers() for number in batch] == list(range(1000))
    assert len(bus.sent) == 8


async def test_past_the_first_only_full_batches_leave_and_few_at_a_time(bus: HeldBus, publisher: Publisher) -> None:
    put(publisher, 0)
    await turns()
    for number in range(MAX_EVENTS * 10 + 1):
        put(publisher, number)
    await turns()
    assert len(bus.sent) == MAX_OUTSTANDING
    assert all(len(batch) == MAX_EVENTS for batch in bus.numbers()[1:])


@pytest.mark.parametrize("size", [1_000, 40_000, MAX_BYTES // 2 - 300, MAX_BYTES // 2 - 150])
async def test_a_batch_has_at_most_256_kib(bus: HeldBus, publisher: Publisher, size: int) -> None:
    futures = [put(publisher, number, size=size) for number in range(40)]
    while not all(future.done() for future in futures):
        await turns()
        for confirm in bus.open:
            if not confirm.done():
                confirm.set_result(None)
    assert all(len(body) <= MAX_BYTES for _, _, body in bus.sent)
    assert [number for batch in bus.numbers() for number in batch] == list(range(40))


async def test_an_event_larger_than_a_batch_leaves_alone(bus: HeldBus, publisher: Publisher) -> None:
    put(publisher, 0)
    put(publisher, 1, size=MAX_BYTES + 1)
    put(publisher, 2)
    while len(bus.sent) < 3:
        await turns()
        for confirm in bus.open:
            if not confirm.done():
                confirm.set_result(None)
    assert bus.numbers() == [[0], [1], [2]]


async def test_a_failed_batch_fails_only_its_own(bus: HeldBus, publisher: Publisher) -> None:
    first = put(publisher, 0)
    await turns()
    second = put(publisher, 1)
    bus.end(0, PublishFailed("no confirm"))
    await turns()
    with pytest.raises(PublishFailed, match="no confirm"):
        await first
    assert not publisher.healthy
    bus.end(1)
    await second
    assert publisher.healthy


async def test_what_gathered_behind_a_time_out_does_not_wait_twice() -> None:
    """A callback has its answer within one time-out, whether its batch was the first or the second in line."""
    limits: list[float] = []

    class Silent:
        async def publish(
            self, exchange: str, key: str, body: bytes, *, headers: dict[str, Any] | None = None, within: float = 1.0
        ) -> None:
            limits.append(within)
            await asyncio.sleep(within)
            raise PublishFailed("not confirmed")

    publisher = Publisher(Silent(), timeout=0.3)
    first = put(publisher, 0)
    await turns()
    second = put(publisher, 1)
    started = time.perf_counter()
    await asyncio.wait({first, second})
    assert time.perf_counter() - started < 0.5
    third = put(publisher, 2)  # a new try has all its time
    await asyncio.wait({third})
    assert limits == [0.3, pytest.approx(0.1, abs=0.05), pytest.approx(0.3, abs=0.05)]


async def test_unroutable_is_known_as_such_and_no_illness_of_the_bus(bus: HeldBus, publisher: Publisher) -> None:
    confirmed = put(publisher, 0)
    await turns()
    bus.end(0, Unroutable("no queue takes it"))
    with pytest.raises(Unroutable):
        await confirmed
    assert publisher.healthy


@pytest.mark.parametrize("error", [ValueError("a driver's bug"), asyncio.CancelledError(), RuntimeError("closed")])
async def test_whatever_ends_a_publish_the_next_batches_leave(
    bus: HeldBus, publisher: Publisher, error: BaseException
) -> None:
    first = put(publisher, 0)
    await turns()
    second = put(publisher, 1)
    bus.end(0, error)
    await turns()
    with pytest.raises(PublishFailed):
        await first
    bus.end(1)
    await asyncio.wait_for(second, 1)
    assert bus.numbers() == [[0], [1]]


async def test_one_that_gives_up_does_not_take_the_batch_along(bus: HeldBus, publisher: Publisher) -> None:
    """``publish`` may be cancelled (a process stops); the events of others in the same batch are confirmed all the same."""
    impatient = asyncio.create_task(publisher.publish(fact(event(attempt=1))))
    patient = asyncio.create_task(publisher.publish(fact(event(attempt=2))))
    await turns()
    assert bus.numbers() == [[1, 2]]
    impatient.cancel()
    await turns()
    bus.end(0)
    await asyncio.wait_for(patient, 1)
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_a_batch_cancelled_against_all_advice_blocks_nobody(bus: HeldBus, publisher: Publisher) -> None:
    first = put(publisher, 0)
    await turns()
    second = put(publisher, 1)
    first.cancel()
    bus.end(0)
    await turns()
    bus.end(1)
    await asyncio.wait_for(second, 1)


async def test_drain_waits_for_all(bus: HeldBus, publisher: Publisher) -> None:
    futures = [put(publisher, number, f"key.{number % 3}") for number in range(300)]
    draining = asyncio.create_task(publisher.drain())
    while not draining.done():
        await turns()
        for confirm in bus.open:
            if not confirm.done():
                confirm.set_result(None)
    assert all(future.done() for future in futures)


async def test_places_that_are_done_with_are_forgotten(bus: HeldBus, publisher: Publisher) -> None:
    for number in range(50):
        confirmed = put(publisher, number, f"gateway.reply.{number}")
        await turns()
        bus.end(number)
        await confirmed
    await turns()
    assert publisher._places == {}
    assert publisher._tasks == set()


async def test_a_failed_batch_that_nobody_waits_for_complains_to_nobody(
    bus: HeldBus, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    put(publisher, 0)
    await turns()
    bus.end(0, PublishFailed("gone"))
    await turns()
    import gc

    gc.collect()
    assert "never retrieved" not in caplog.text


def test_where_things_go() -> None:
    item = event(lane="entry", type="wechat.message.text")
    assert (fact(item).exchange, fact(item).key) == ("weir.events", "entry.wechat.message.text")
    assert (command("send.reply", item).exchange, command("send.reply", item).key) == ("weir.commands", "send.reply")
    assert (direct("q.retry.5s", item).exchange, direct("q.retry.5s", item).key) == ("", "q.retry.5s")
