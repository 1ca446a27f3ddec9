"""The composition root of autoreply."""

from __future__ import annotations

from chassis.amqp import Bus
from chassis.consumer import Consumer
from chassis.conversing import Conversing
from chassis.http import Health, app_runner, application
from chassis.lifecycle import Process
from chassis.mongo import connect, until_reachable
from chassis.publisher import Publisher
from chassis.settings import Settings
from contracts import topology
from services.autoreply.handlers import AutoReply
from services.autoreply.memory import Memory
from services.autoreply.store import RuleStore

NAME = "autoreply"


async def build(settings: Settings) -> Process:
    health = Health()
    bus = Bus(settings.amqp_url, NAME)
    publisher = Publisher(bus, timeout=5.0)
    client, database = connect(settings.mongodb_url, settings.mongodb_database, name=NAME)
    rules = RuleStore(settings.rules_dir)
    rules.refresh()
    memory = Memory(database)
    conversing = Conversing(database)
    handler = AutoReply(rules, memory, conversing).handle
    questions = Consumer(bus, publisher, topology.AUTOREPLY_QUESTION, handler, prefetch=16, workers=4)
    entries = Consumer(bus, publisher, topology.AUTOREPLY_ENTRY, handler, prefetch=8, workers=4, after=questions)

    async def follow_conversations() -> None:
        # Not before anything is consumed: without MongoDB the rules answer all the same.
        await until_reachable(memory.prepare)
        await conversing.keep()

    async def close_client() -> None:
        client.close()

    return Process(
        name=NAME,
        settings=settings,
        health=health,
        bus=bus,
        publisher=publisher,
        runner=app_runner(application(health)),
        consumers=[questions, entries],
        background=[rules.keep, follow_conversations],
        closers=[close_client],
    )
