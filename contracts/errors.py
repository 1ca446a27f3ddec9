"""What a handler may raise, and the fate each leads to. Anything else it raises counts as ``Retry``.

Three fates, three exceptions: an event goes round the retry ladder, goes to the dead letters at once, or the whole
consumer holds its breath because what it needs (the store, the broker) is away.
"""

from __future__ import annotations


class HandlerError(Exception):
    """Base of the errors with a fate. ``reason`` is a short code, fit for a metric label and a dead letter."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class Retry(HandlerError):
    """Handling this event failed for now: it goes to the next rung of the retry ladder, dead after the last."""


class Later(HandlerError):
    """This event is early or must wait; ``delay`` seconds at the least. It is no failure and uses up no attempt."""

    def __init__(self, reason: str, delay: float) -> None:
        super().__init__(reason)
        self.delay = delay


class Reject(HandlerError):
    """This event can never be handled: it goes to the dead letters at once."""


class Unavailable(HandlerError):
    """Something every event needs is away: the consumer waits and tries the same events again in place."""


class PublishFailed(Exception):
    """The broker did not confirm in time. The outcome is unknown: the message may arrive all the same."""


class Unroutable(PublishFailed):
    """No queue takes this routing key: known not to have arrived."""


class SettingsError(Exception):
    """A setting is missing, malformed or unknown; the text names the variable and what it should be."""
