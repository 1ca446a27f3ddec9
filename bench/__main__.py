"""`python -m bench`: Weir, WeRoBot and bare aiohttp under the same load, in one run on one machine."""

import argparse
import contextlib
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it. Returns the exit code: 1 when something accepted was lost or doubled, 2 when it could not run."""
    options = _options(arguments)
    missing = [name for name in ("tornado", "werobot") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"bench needs {', '.join(missing)}: run `uv sync --group bench`", file=sys.stderr)
        return 2
    if not Path("/proc/stat").exists():
        print("bench needs Linux: it reads from /proc what each process took", file=sys.stderr)
        return 2
    from bench import load, servers  # not before it is known that everything is there

    try:
        load.ensure_wrk()
        return _run(options)
    except (load.LoadError, servers.StartError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--connections",
        type=_numbers,
        default=[16, 64, 256, 1000],
        metavar="N,N,...",
        help="how many connections send at the same time (16,64,256,1000)",
    )
    parser.add_argument("--seconds", type=_positive, default=8, help="length of each load (8)")
    parser.add_argument("--repeat", type=_positive, default=1, help="measure everything N times; medians count")
    parser.add_argument("--rules", type=_positive, default=1, help="how many rules Weir has published (1)")
    parser.add_argument("--only", type=_names, default=["aiohttp", "werobot", "weir"], metavar="NAME,...")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="also write everything measured to FILE; without FILE, to standard output in place of the table",
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _numbers(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]


def _names(text: str) -> list[str]:
    known = ("aiohttp", "werobot", "weir")
    names = text.split(",")
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
    return [name for name in known if name in names]


def _run(options: argparse.Namespace) -> int:
    from bench import machine, results, systems, table, weir_run
    from bench.measure import measure

    wanted = [system for name in options.only for system in systems.NAMES[name]]
    measurements = []
    with contextlib.ExitStack() as stack:
        starters = dict(systems.PEERS)
        if results.WEIR in wanted:
            starters[results.WEIR] = stack.enter_context(weir_run.temporary_home(options.rules)).up
        for repeat in range(1, options.repeat + 1):
            for connections in options.connections:
                measurements += [
                    measure(name, starters[name], connections=connections, seconds=options.seconds, repeat=repeat)
                    for name in wanted
                ]
    settings = {name: getattr(options, name) for name in ("connections", "seconds", "repeat", "rules")}
    if options.json:
        _write(options.json, results.as_json(machine.describe(), settings, measurements))
    if options.json != "-":
        print(table.render(measurements))
    return 0 if results.is_correct(measurements) else 1


def _write(target: str, run: dict[str, object]) -> None:
    text = json.dumps(run, ensure_ascii=False, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        Path(target).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
