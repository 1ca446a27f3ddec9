"""The life of a process: start, serve, and on SIGTERM: readiness off, stop consuming, drain, close. Under 10 s."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from aiohttp import web

from chassis import logs, metrics
from chassis.amqp import Bus
from chassis.consumer import Consumer
from chassis.http import Health, serve
from chassis.publisher import Publisher
from chassis.settings import Settings, load
from contracts.errors import SettingsError

log = logs.get(__name__)

Closer = Callable[[], Awaitable[object]]
# Together with closing these stay under 10 s, the time between SIGTERM and SIGKILL that people set.
SETTLE_SECONDS = 4.7
DRAIN_SECONDS = 2.5
WATCH_SECONDS = 15.0
STALL_SECONDS = 45.0
EXIT_CONSUMER_GONE = 3
EXIT_ADDRESS = 4


@dataclass
class Process:
    """What a service's ``build`` returns: its parts, in the terms in which they are started and stopped."""

    name: str
    settings: Settings
    health: Health
    bus: Bus
    publisher: Publisher
    runner: web.BaseRunner
    consumers: list[Consumer] = field(default_factory=list)
    before: list[Closer] = field(default_factory=list)
    """Awaited before anything is consumed or served, e.g. indexes."""
    background: list[Callable[[], Awaitable[object]]] = field(default_factory=list)
    """Run for as long as the process; one that ends, ends the process."""
    settle: list[Closer] = field(default_factory=list)
    """Awaited when nothing new is taken in any more, while what is awaited can still come."""
    closers: list[Closer] = field(default_factory=list)
    """Awaited last, in this order."""


def run(name: str, build: Callable[[Settings], Awaitable[Process]]) -> None:
    """Run a service until SIGTERM or SIGINT; exits the interpreter with its code."""
    try:
        settings = load(os.environ)
    except SettingsError as error:
        sys.exit(f"{name}: {error}")
    logs.configure(name, log_format=settings.log_format, level=settings.log_level)
    metrics.build_info.labels(version("weir")).set(1)
    log.info("starting", settings=settings.redacted())
    try:
        sys.exit(_loop_run(_main(name, settings, build)))
    except SettingsError as error:  # a setting that only its user could find wrong
        sys.exit(f"{name}: {error}")


def _loop_run(main: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop
    except ImportError:  # not on Windows, and not needed to be right
        return asyncio.run(main)
    code: int = uvloop.run(main)
    return code


async def _main(name: str, settings: Settings, build: Callable[[Settings], Awaitable[Process]]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop, name)
    process = await build(settings)
    health = process.health
    health.checks.setdefault("rabbitmq", lambda: process.bus.ready)
    try:
        site = await serve(process.runner, settings.http_host, settings.http_port)
    except OSError as error:
        log.error("cannot serve", host=settings.http_host, port=settings.http_port, reason=str(error))
        return EXIT_ADDRESS
    starting = asyncio.create_task(_start(process))
    tasks = [starting, asyncio.create_task(_loop_lag())]
    stopping = asyncio.create_task(stop.wait())
    code = 0
    watch = [
        asyncio.create_task(_watch(process, starting)),
        *(asyncio.create_task(_forever(job())) for job in process.background),
    ]
    done, _ = await asyncio.wait([stopping, *watch], return_when=asyncio.FIRST_COMPLETED)
    if stopping not in done:
        code = EXIT_CONSUMER_GONE
        for task in done:
            if failure := task.exception():
                log.error("a background task ended", exc_info=failure)
    # Readiness first: the balancer must look away before anything closes.
    health.draining = True
    # Who has nothing to settle has all the time to drain: a call of WeChat's API that is cut off is of unknown outcome.
    drained_by = loop.time() + SETTLE_SECONDS + DRAIN_SECONDS
    await site.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            await asyncio.gather(*(settle() for settle in process.settle))
    await process.bus.stop_consuming()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(drained_by):
            await asyncio.gather(*(consumer.drain() for consumer in process.consumers))
            await process.publisher.drain()
    for task in (*tasks, *watch, stopping):
        task.cancel()
    await asyncio.gather(*tasks, *watch, stopping, return_exceptions=True)
    for close in process.closers:
        with contextlib.suppress(Exception):  # each gets its turn
            await asyncio.wait_for(close(), 3)
    await process.bus.close()
    await process.runner.cleanup()
    log.info("stopped", code=code)
    return code


def _on_signal(stop: asyncio.Event, name: str) -> None:
    if stop.is_set():
        sys.stderr.write(f"{name}: second signal, leaving at once\n")
        os._exit(1)
    stop.set()


async def _start(process: Process) -> None:
    for prepare in process.before:
        await prepare()
    # What is alive now lives as long as the process, and events make no cycles: looking for garbage at Python's
    # default pace cost a tenth of the CPU under load.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    await process.bus.start()
    for consumer in process.consumers:
        await consumer.start()
    await process.bus.wait_ready()
    log.info("ready")


async def _forever(job: Awaitable[object]) -> None:
    await job
    raise RuntimeError("a background task returned")


async def _watch(process: Process, starting: asyncio.Task[None]) -> None:
    """End the process when it cannot start, or when a consumer is gone or stands still with work waiting.

    Its supervisor starts it anew.
    """
    await starting
    missing: dict[str, int] = {}
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        if process.bus.failed:
            raise RuntimeError("the connection to rabbitmq is no longer kept")
        for consumer in process.consumers:
            if consumer.failed:
                raise RuntimeError(f"a worker of {consumer.queue.name} is gone")
            if not process.bus.ready:
                missing.clear()
                continue
            name = consumer.queue.name
            try:
                consumers, ready = await process.bus.consumer_count(name)
            except Exception as error:  # the connection just went; the link makes a new one
                log.warning("cannot ask for the queue", queue=name, error=repr(error))
                continue
            quiet = asyncio.get_running_loop().time() - process.bus.last_delivery(name)
            stalled = ready > 0 and quiet > STALL_SECONDS and not consumer.brake.on and consumer.idle
            missing[name] = missing.get(name, 0) + 1 if consumers == 0 or stalled else 0
            if missing[name] >= 2:
                raise RuntimeError(f"the consumer of {name} is gone or gets nothing though {ready} messages wait")


async def _loop_lag() -> None:
    while True:
        started = time.perf_counter()
        await asyncio.sleep(0.5)
        metrics.loop_lag.observe(max(0.0, time.perf_counter() - started - 0.5))
