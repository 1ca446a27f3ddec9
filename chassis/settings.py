"""Settings: environment variables with the prefix ``WEIR_``, read once into one frozen object.

An unknown or malformed variable is an error that names it: a misspelt setting must not silently do nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from contracts.errors import SettingsError

PREFIX = "WEIR_"
RUNNER_ONLY = frozenset({"WEIR_HOME", "WEIR_PORT"})
"""Read by the local runner alone; a service started by hand may still meet them in the environment."""
MIN_TOKEN = 24


def _setting(
    help_: str, default: Any, *, secret: bool = False, low: float | None = None, high: float | None = None
) -> Any:
    return dataclasses.field(default=default, metadata={"help": help_, "secret": secret, "low": low, "high": high})


@dataclass(frozen=True)
class Settings:
    """Every setting of every process. ``docs/settings.md`` is this table."""

    amqp_url: str = _setting("RabbitMQ, amqp://user:password@host:5672/vhost", "amqp://localhost:5672/", secret=True)
    mongodb_url: str = _setting(
        "MongoDB, mongodb://user:password@host:27017/", "mongodb://localhost:27017/", secret=True
    )
    mongodb_database: str = _setting("name of the database", "weir")
    http_host: str = _setting("address that HTTP is served on", "127.0.0.1")
    http_port: int = _setting("port that HTTP is served on; 0 takes a free one", 8080, low=0, high=65535)
    admin_token: str = _setting(f"bearer token for /api/, {MIN_TOKEN} characters or more", "", secret=True)
    log_format: str = _setting("json or console", "json")
    log_level: str = _setting("debug, info, warning or error", "info")
    rules_dir: Path = _setting("directory of the rule files, <account>.yaml", Path("rules"))
    triage_file: Path = _setting("YAML file with the entry patterns of each account", Path("triage.yaml"))
    journal_dir: Path = _setting("directory of the gateway's journal", Path("journal"))
    journal_max_mb: int = _setting("size of the journal at which the alarm is raised, in MiB", 1024, low=1)
    reply_deadline: float = _setting("seconds the gateway waits for a passive reply, at most 4.5", 4.5, low=0.1)
    publish_timeout: float = _setting(
        "seconds without the broker's confirm before the journal takes over", 1.0, low=0.05, high=3.0
    )
    history_url: str = _setting("address of the history service, for the courier", "http://127.0.0.1:8083")
    llm_url: str = _setting(
        "OpenAI-compatible endpoint that drafts answers, as https://host/v1; none means no drafts", ""
    )
    llm_key: str = _setting("bearer key for that endpoint", "", secret=True)
    llm_model: str = _setting("name of the model to ask for", "")
    llm_timeout: float = _setting("seconds that a draft may take", 15.0, low=0.1, high=120)
    llm_daily_tokens: int = _setting("tokens that drafts may use in a day (UTC), over all processes", 200_000, low=0)
    llm_autosend: bool = _setting("send a draft by itself while no person has taken the question", False)
    edge_history_url: str = _setting("where the local runner's edge finds the history service", "")
    edge_autoreply_url: str = _setting("where the local runner's edge finds autoreply, which serves the rules", "")
    edge_agent_url: str = _setting("where the local runner's edge finds the agent service", "")
    edge_courier_url: str = _setting("where the local runner's edge finds the courier", "")
    edge_sandbox_url: str = _setting("where the local runner's edge finds the sandbox", "")

    def __post_init__(self) -> None:
        if self.log_format not in ("json", "console"):
            raise SettingsError(f"WEIR_LOG_FORMAT is {self.log_format!r}; it must be json or console")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise SettingsError(f"WEIR_LOG_LEVEL is {self.log_level!r}; it must be debug, info, warning or error")
        if self.reply_deadline > 4.5:
            raise SettingsError(
                f"WEIR_REPLY_DEADLINE is {self.reply_deadline}; WeChat hangs up after 5 s, so it must be 4.5 or less"
            )
        if self.admin_token and len(self.admin_token) < MIN_TOKEN:
            raise SettingsError(
                f"WEIR_ADMIN_TOKEN has {len(self.admin_token)} characters; it must have {MIN_TOKEN} or more"
            )
        if self.llm_url and self.llm_url.partition("://")[0] not in ("http", "https"):
            raise SettingsError("WEIR_LLM_URL must start with http:// or https://")
        if self.llm_url and not self.llm_model:
            raise SettingsError("WEIR_LLM_URL is set and WEIR_LLM_MODEL is not; name the model to ask for")
        for name, schemes in (("amqp_url", ("amqp", "amqps")), ("mongodb_url", ("mongodb", "mongodb+srv"))):
            variable, url = f"{PREFIX}{name.upper()}", getattr(self, name)
            if url.partition("://")[0] not in schemes:
                raise SettingsError(f"{variable} must start with {' or '.join(s + '://' for s in schemes)}")
            if not _has_host(url):
                raise SettingsError(f"{variable} has no host, or a port that is no number: {self._shape(name)}")

    @classmethod
    def _shape(cls, name: str) -> str:
        """What the setting should look like, from its help."""
        return str(cls.__dataclass_fields__[name].metadata["help"])

    def redacted(self) -> dict[str, str]:
        """The settings as they may be shown: passwords and tokens are left out."""
        shown = {}
        for field in dataclasses.fields(self):
            value = str(getattr(self, field.name))
            shown[field.name] = _without_password(value) if field.metadata["secret"] else value
        return shown


def load(environ: Mapping[str, str]) -> Settings:
    """The settings of an environment. Raises ``SettingsError`` naming the variable and the fix."""
    fields = {PREFIX + field.name.upper(): field for field in dataclasses.fields(Settings)}
    values: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in RUNNER_ONLY:
            continue
        field = fields.get(name)
        if field is None:
            near = get_close_matches(name, fields, n=1)
            raise SettingsError(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
        values[field.name] = _convert(name, text, type(field.default), field.metadata)
    return Settings(**values)


def _convert(name: str, text: str, kind: type, bounds: Mapping[str, Any]) -> Any:
    if kind is bool:
        try:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        except KeyError:
            raise SettingsError(f"{name} is {text!r}; it must be true or false") from None
    if kind not in (int, float):
        return Path(text) if issubclass(kind, Path) else text
    try:
        value = kind(text)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{name} is {text!r}; it must be {noun}") from None
    low, high = bounds["low"], bounds["high"]
    if low is not None and not value >= low:
        raise SettingsError(f"{name} is {text}; it must be {low} or more")
    if high is not None and not value <= high:
        raise SettingsError(f"{name} is {text}; it must be {high} or less")
    return value


def _has_host(url: str) -> bool:
    rest = url.partition("://")[2]
    hosts = rest.partition("/")[0].rpartition("@")[2].split(",")  # MongoDB's may be several
    try:
        return all(urlsplit(f"//{host}").hostname and urlsplit(f"//{host}").port != 0 for host in hosts)
    except ValueError:
        return False


def _without_password(value: str) -> str:
    if not value.startswith(("amqp", "mongodb")):
        return "(set)" if value else "(not set)"
    parts = urlsplit(value)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"***@{host}" if "@" in parts.netloc else host, parts.path, "", ""))
