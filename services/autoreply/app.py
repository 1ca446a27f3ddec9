"""The composition root of autoreply."""

from __future__ import annotations

from chassis.amqp import Bus
from chassis.consumer import Consumer
from chassis.http import Health, app_runner, application
from chassis.lifecycle import Process
from chassis.publisher import Publisher
from chassis.settings import Settings
from contracts import topology
from services.autoreply.handlers import AutoReply
from services.autoreply.store import RuleStore


async def build(settings: Settings) -> Process:
    health = Health()
    bus = Bus(settings.amqp_url, "autoreply")
    publisher = Publisher(bus, timeout=5.0)
    rules = RuleStore(settings.rules_dir)
    rules.refresh()
    handler = AutoReply(rules).handle
    questions = Consumer(bus, publisher, topology.AUTOREPLY_QUESTION, handler, prefetch=16, workers=4)
    entries = Consumer(bus, publisher, topology.AUTOREPLY_ENTRY, handler, prefetch=8, workers=4, after=questions)
    return Process(
        name="autoreply",
        settings=settings,
        health=health,
        bus=bus,
        publisher=publisher,
        runner=app_runner(application(health)),
        consumers=[questions, entries],
        background=[rules.keep],
    )
