"""What `weir up` runs, as data: each process, its command and what it alone is told."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Part:
    """One process. Words in braces are filled in: {sandbox} and {history} are ports, {home} is the data directory."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: str = "/readyz"
    ours: bool = True
    """Whether it reads our settings; a stranger is not shown our addresses and passwords."""


SANDBOX = Part(
    "sandbox",
    ("-m", "sandbox", "--port", "{sandbox}", "--state", "{home}/sandbox.json"),
    ready="/livez",
    ours=False,
)
WORKERS = (
    Part("history", ("-m", "services.history")),
    Part("autoreply", ("-m", "services.autoreply")),
    Part("agent", ("-m", "services.agent")),
    Part("courier", ("-m", "services.gateway.courier"), {"WEIR_HISTORY_URL": "http://127.0.0.1:{history}"}),
)
EDGE = Part(
    "edge",
    ("-m", "weir.edge"),
    {
        "WEIR_EDGE_HISTORY_URL": "http://127.0.0.1:{history}",
        "WEIR_EDGE_AUTOREPLY_URL": "http://127.0.0.1:{autoreply}",
        "WEIR_EDGE_AGENT_URL": "http://127.0.0.1:{agent}",
        "WEIR_EDGE_COURIER_URL": "http://127.0.0.1:{courier}",
        "WEIR_EDGE_SANDBOX_URL": "http://127.0.0.1:{sandbox}",
    },
)
"""The gateway and the one address before it."""

RUNNERS_OWN = frozenset({"WEIR_HOME", "WEIR_PORT"})
"""Settings of the runner itself, which the processes need not see."""


def command(part: Part, words: Mapping[str, str]) -> list[str]:
    """The command line of a part, with this interpreter."""
    return [sys.executable, *(word.format_map(words) for word in part.command)]


def environment(
    part: Part, common: Mapping[str, str], words: Mapping[str, str], port: int, host: str
) -> dict[str, str]:
    """The environment of a part: the common settings, its own address, and what it alone is told."""
    if not part.ours:
        return {name: value for name, value in common.items() if not name.startswith("WEIR_")}
    # A run without the sandbox has nothing to point at.
    told = {name: value for name, value in part.env.items() if "sandbox" in words or "{sandbox}" not in value}
    own = {name: value.format_map(words) for name, value in told.items()}
    return {**common, "WEIR_HTTP_HOST": host, "WEIR_HTTP_PORT": str(port), **own}
