"""The outbox and the replay: the bus, else the disk, else an error; and from the disk to the bus again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chassis.publisher import Publisher
from contracts.envelope import decode
from contracts.errors import PublishFailed
from services.gateway.journal import Journal, JournalError
from services.gateway.outbox import Outbox
from services.gateway.replay import Replayer
from tests.unit.services.gateway.test_journal import everything

EVENT = b'{"specversion":"1.0","id":"%d","source":"/accounts/demo","type":"t","time":"2026-09-01T12:00:00Z","account":"demo"}'


class Bus:
    """A bus that is up or down, as the test says."""

    def __init__(self) -> None:
        self.up = True
        self.fails_after: int | None = None
        self.tries = 0
        self.arrived: list[str] = []

    @property
    def ready(self) -> bool:
        return True

    async def publish(
        self, exchange: str, key: str, body: bytes, *, headers: dict[str, Any] | None = None, within: float = 1.0
    ) -> None:
        self.tries += 1
        await asyncio.sleep(0)
        if not self.up or self.fails_after == len(self.arrived):
            raise PublishFailed("the bus is down")
        self.arrived += [item.id for item in decode(body)]


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def publisher(bus: Bus) -> Publisher:
    return Publisher(bus)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    made = Journal(tmp_path / "journal", 10_000)
    made.open()
    yield made
    await made.close()


@pytest.fixture
def outbox(publisher: Publisher, journal: Journal) -> Outbox:
    return Outbox(publisher, journal)


class BrokenJournal(Journal):
    """A journal on a disk that takes nothing."""

    def _write(self, data: bytes) -> None:
        raise OSError("no space left")


async def keep(outbox: Outbox, number: int) -> None:
    await outbox.keep(EVENT % number, "weir.events", "question.t")


async def test_while_the_bus_is_well_the_disk_is_not_touched(outbox: Outbox, bus: Bus, journal: Journal) -> None:
    await keep(outbox, 1)
    assert bus.arrived == ["1"]
    assert journal.empty


async def test_what_the_bus_does_not_take_is_on_the_disk_and_the_next_does_not_wait_for_it(
    outbox: Outbox, bus: Bus, tmp_path: Path
) -> None:
    bus.up = False
    await keep(outbox, 1)
    await keep(outbox, 2)
    assert bus.tries == 1
    assert not outbox.healthy
    assert [event for _, _, event in everything(tmp_path / "journal")] == [EVENT % 1, EVENT % 2]


async def test_when_bus_and_disk_fail_it_is_an_error(publisher: Publisher, bus: Bus, tmp_path: Path) -> None:
    outbox = Outbox(publisher, BrokenJournal(tmp_path, 1))
    bus.up = False
    for number in range(3):
        with pytest.raises(JournalError):
            await keep(outbox, number)


async def test_with_a_broken_disk_a_bus_that_is_back_is_found(publisher: Publisher, bus: Bus, tmp_path: Path) -> None:
    """Nothing is replayed from a broken disk, so nothing else would ever ask the bus again."""
    outbox = Outbox(publisher, BrokenJournal(tmp_path, 1))
    bus.up = False
    with pytest.raises(JournalError):
        await keep(outbox, 1)
    bus.up = True
    await keep(outbox, 2)
    assert bus.arrived == ["2"]
    assert outbox.healthy


async def until(condition: Any, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def replayed(journal: Journal, bus: Bus, publisher: Publisher) -> None:
    task = asyncio.create_task(Replayer(journal, bus, publisher).keep())  # type: ignore[arg-type]
    try:
        await until(lambda: journal.empty)
    finally:
        task.cancel()


async def test_the_journal_goes_to_the_bus_when_it_is_back(
    outbox: Outbox, bus: Bus, journal: Journal, publisher: Publisher
) -> None:
    bus.up = False
    for number in range(1300):
        await keep(outbox, number)
    bus.up = True
    await replayed(journal, bus, publisher)
    assert bus.arrived == [str(number) for number in range(1300)]
    assert outbox.healthy
    assert journal.segments() == []


async def test_a_replay_cut_off_begins_again(outbox: Outbox, bus: Bus, journal: Journal, publisher: Publisher) -> None:
    bus.up = False
    for number in range(600):
        await keep(outbox, number)
    bus.up, bus.fails_after = True, 1
    task = asyncio.create_task(Replayer(journal, bus, publisher).keep())  # type: ignore[arg-type]
    await until(lambda: bus.tries >= 3)
    assert not journal.empty
    bus.fails_after = None
    await until(lambda: journal.empty)
    task.cancel()
    assert set(bus.arrived) == {str(number) for number in range(600)}


async def test_what_an_earlier_process_left_is_replayed(bus: Bus, publisher: Publisher, tmp_path: Path) -> None:
    earlier = Journal(tmp_path / "j", 1000)
    earlier.open()
    for number in range(5):
        await earlier.append("weir.events", "question.t", EVENT % number)
    await earlier.close()
    journal = Journal(tmp_path / "j", 1000)
    journal.open()
    await replayed(journal, bus, publisher)
    await journal.close()
    assert bus.arrived == [str(number) for number in range(5)]


@pytest.mark.parametrize("damage", [b"\0" * 64, b"\x40\x00\x00\x00garbage", b"\xff" * 20])
async def test_a_torn_tail_does_not_stop_the_replay_nor_the_process(
    bus: Bus, publisher: Publisher, tmp_path: Path, damage: bytes
) -> None:
    earlier = Journal(tmp_path / "j", 1000)
    earlier.open()
    for number in range(600):
        await earlier.append("weir.events", "question.t", EVENT % number)
    await earlier.close()
    (path,) = earlier.segments()
    path.write_bytes(path.read_bytes() + damage)
    journal = Journal(tmp_path / "j", 1000)
    journal.open()
    await replayed(journal, bus, publisher)
    await journal.close()
    assert set(bus.arrived) == {str(number) for number in range(600)}
    assert len(list((tmp_path / "j").glob("*.damaged"))) == 1


async def test_stopping_a_replay_does_not_take_live_events_along(
    bus: Bus, publisher: Publisher, journal: Journal
) -> None:
    await journal.append("weir.events", "question.t", EVENT % 1)
    held = asyncio.Event()
    publish = bus.publish

    async def slow(*args: Any, **kwargs: Any) -> None:
        await held.wait()
        await publish(*args, **kwargs)

    bus.publish = slow  # type: ignore[method-assign]
    task = asyncio.create_task(Replayer(journal, bus, publisher).keep())  # type: ignore[arg-type]
    await until(lambda: publisher._places)
    live = asyncio.ensure_future(publisher.put(EVENT % 2, "weir.events", "question.t"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    held.set()
    await asyncio.wait_for(live, 5)
    assert "2" in bus.arrived
