"""One measurement: start the system, warm it up, load it, wait for the rest, look at what it took and kept."""

import sys
import time
from dataclasses import replace

from bench import load, usage
from bench.results import Measurement
from bench.stored import Store
from bench.systems import Running, Starter

#: Seconds of load before the load that counts.
WARM_UP = 2


def measure(name: str, start: Starter, *, connections: int, seconds: int, repeat: int) -> Measurement:
    """Measure one system at one number of connections. Nothing else that is measured runs meanwhile."""
    say(f"{name}, {connections} connections: starting")
    with start() as running:
        warm_up = load.run(running.port, connections=connections, seconds=WARM_UP)
        if running.store is not None:
            # Its messages reach the store first, so that their work is not counted with the load's.
            running.store.wait_for_load(warm_up)
        measurement = _loaded(name, running, connections=connections, seconds=seconds, repeat=repeat)
        if running.store is not None:
            measurement = _checked(measurement, running.store, warm_up)
    seen = measurement.load
    say(
        f"{name}, {connections} connections: {seen.per_second:.0f} callbacks/s,"
        f" p50 {seen.p50:.1f} ms, p99 {seen.p99:.1f} ms"
    )
    return measurement


def _loaded(name: str, running: Running, *, connections: int, seconds: int, repeat: int) -> Measurement:
    before, began = usage.read(running.processes), time.monotonic()
    seen = load.run(running.port, connections=connections, seconds=seconds)
    drain = None if running.store is None else running.store.wait_for_load(seen)
    after, ended = usage.read(running.processes), time.monotonic()
    return Measurement(
        system=name,
        repeat=repeat,
        load=seen,
        processes=tuple(usage.between(before, after)),
        strangers_share=usage.strangers_share(before, after, [seen.generator_cpu_seconds], ended - began),
        drain_seconds=drain,
    )


def _checked(measurement: Measurement, store: Store, warm_up: load.Load) -> Measurement:
    """The measurement with what the store holds of it; the warm-up's messages must be there as well."""
    storage = store.check(warm_up) + store.check(measurement.load)
    if not storage.exactly_once:
        say(f"{measurement.system}: NOT stored exactly once: {storage}")
    return replace(measurement, storage=storage)


def say(line: str) -> None:
    """Progress, for the eyes only: the result goes to standard output."""
    print(line, file=sys.stderr, flush=True)
