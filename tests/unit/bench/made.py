"""Loads and measurements as the tests need them."""

from dataclasses import replace

from bench.account import Numbers
from bench.load import Load
from bench.results import Measurement
from bench.stored import Storage
from bench.usage import ProcessUse

NUMBERS = Numbers(first=1_714_037_059 * 10**8)

LOAD = Load(
    connections=256,
    seconds=2.0,
    numbers=NUMBERS,
    sent=4,
    answered=4,
    answered_in_time=4,
    empty=0,
    refused=0,
    other=0,
    socket_errors=0,
    p50=1.0,
    p90=2.0,
    p99=3.0,
    p999=4.0,
    slowest=5.0,
    generator_cpu_seconds=0.5,
)

STORED_WELL = Storage(inbound=4, outbound=4, lost=0, doubled=0, unrecorded_replies=0, doubled_replies=0, invented=0)


def measurement(
    system: str,
    per_second: float,
    *,
    connections: int = 256,
    repeat: int = 1,
    p99: float = 3.0,
    processes: tuple[ProcessUse, ...] = (),
    storage: Storage | None = None,
) -> Measurement:
    answered = int(per_second * LOAD.seconds)
    load = replace(LOAD, connections=connections, sent=answered, answered=answered, answered_in_time=answered, p99=p99)
    return Measurement(
        system=system,
        repeat=repeat,
        load=load,
        processes=processes,
        strangers_share=0.0,
        drain_seconds=None if storage is None else 0.25,
        storage=storage,
    )
