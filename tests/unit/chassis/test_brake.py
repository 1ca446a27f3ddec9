"""The brake, with a clock of the test's own."""

import asyncio

import pytest

from chassis.brake import Brake


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def brake(clock: Clock) -> Brake:
    return Brake("test", limit=3, hold=30, clock=clock)


def test_a_death_now_and_then_holds_nobody(brake: Brake) -> None:
    for _ in range(10):
        brake.dead()
        brake.dead()
        brake.good()
    assert not brake.on


def test_deaths_in_a_row_hold_and_time_lets_go(brake: Brake, clock: Clock) -> None:
    for _ in range(3):
        brake.dead()
    assert brake.on
    clock.now += 29
    assert brake.on
    clock.now += 1
    assert not brake.on
    brake.dead()  # the one delivery that was tried
    assert brake.on
    clock.now += 30
    brake.good()
    brake.dead()
    brake.dead()
    assert not brake.on


async def test_waiting_ends_with_the_hold(brake: Brake, clock: Clock) -> None:
    await asyncio.wait_for(brake.wait(), 1)
    quick = Brake("test", limit=1, hold=0.05)
    quick.dead()
    assert quick.on
    await asyncio.wait_for(quick.wait(), 2)
    assert not quick.on


async def test_a_process_that_stops_is_not_held(brake: Brake) -> None:
    for _ in range(3):
        brake.dead()
    waiting = asyncio.create_task(brake.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    brake.release()
    await asyncio.wait_for(waiting, 1)
