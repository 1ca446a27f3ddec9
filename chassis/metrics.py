"""Every metric of Weir, with its meaning. Prefix ``weir_``; base units; labels from small closed sets only.

Never a label: an openid, an account's text, a message id, a URL, a rule. One process is one registry: Prometheus
scrapes every process, and prometheus_client's multiprocess mode is not used.
"""

from __future__ import annotations

import prometheus_client as prometheus
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped

MESSAGE_KINDS = frozenset(
    ("text", "image", "voice", "video", "shortvideo", "location", "link", "file", "miniprogrampage", "event")
)

build_info = Gauge("weir_build_info", "1, with the version as a label.", ["version"])

# -- gateway --
callbacks = Counter(
    "weir_gateway_callbacks_total",
    "Callbacks from WeChat, by message kind and what became of them.",
    ["kind", "outcome"],
)
callback_seconds = Histogram(
    "weir_gateway_callback_duration_seconds",
    "Time from a callback's first byte read to its answer. WeChat hangs up at 5.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 4.5, 5),
)
passive_replies = Counter(
    "weir_gateway_passive_reply_total", "Passive answers: replied, empty (nothing to say), deadline_missed.", ["result"]
)
pending_callbacks = Gauge("weir_gateway_pending_callbacks", "Callbacks that wait for their answer right now.")
journal_records = Counter(
    "weir_journal_records_total", "Events through the journal: written, replayed, torn.", ["result"]
)
journal_bytes = Gauge("weir_journal_bytes", "Size of the journal that is not replayed yet.")
journal_failures = Counter("weir_journal_failures_total", "Appends that failed: bus and disk are both away.")
clock_skew = Gauge("weir_gateway_clock_skew_seconds", "Our clock minus WeChat's, by the last callback's timestamp.")

# -- bus --
publish_seconds = Histogram(
    "weir_bus_publish_duration_seconds",
    "Time from a batch leaving to the broker's confirm.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)
publish_batch_events = Histogram(
    "weir_bus_publish_batch_events", "Events in one published message.", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
publish_failures = Counter(
    "weir_bus_publish_failures_total", "Publishes not confirmed: timeout, returned, nack, closed.", ["reason"]
)
reconnects = Counter("weir_broker_reconnects_total", "Connections to RabbitMQ made anew.", ["link"])
consumed = Counter("weir_consumer_messages_total", "Events handled: ack, retry, dead, later.", ["queue", "result"])
consumer_seconds = Histogram(
    "weir_consumer_process_duration_seconds",
    "Time to handle one delivery (a batch of events), publishing included.",
    ["queue"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
consumer_delay = Histogram(
    "weir_consumer_queue_delay_seconds",
    "Age of a delivery when its handling starts, from the publisher's clock.",
    ["queue"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900),
)
consumer_in_flight = Gauge("weir_consumer_in_flight", "Deliveries taken from the broker and not yet acked.", ["queue"])
consumer_brake = Gauge("weir_consumer_brake", "1 while a consumer holds still because all it does is fail.", ["queue"])
dead_letters = Counter(
    "weir_consumer_dead_letters_total", "Events sent to the dead letters, by reason.", ["queue", "reason"]
)

# -- autoreply --
decisions = Counter(
    "weir_autoreply_decisions_total",
    "Decisions by what matched, or: silent, conversation (a person talks with the follower), repeated, none.",
    ["matcher"],
)
handovers = Counter("weir_handovers_total", "Questions handed over to a person, by reason.", ["reason"])
faq_answers = Counter(
    "weir_faq_answers_total",
    "Questions that came near to one of the FAQ: answered, or handed_over with the nearest ones.",
    ["result"],
)
match_seconds = Histogram(
    "weir_autoreply_match_duration_seconds",
    "Time to decide about one batch of events.",
    buckets=(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1),
)
rules_loaded = Gauge("weir_autoreply_rules_loaded", "Rules in force, over all accounts.")
rules_reload_timestamp = Gauge("weir_autoreply_rules_reload_timestamp_seconds", "When rules last changed.")
rules_refused = Gauge(
    "weir_autoreply_rules_refused", "Accounts whose live version cannot be compiled here; the rules before it stay."
)
rule_files_refused = Gauge(
    "weir_autoreply_rule_files_refused", "Rule files that are refused right now; the old rules stay."
)
rules_published = Counter(
    "weir_rules_published_total", "Changes of what is live made by this process: published, rolled_back.", ["change"]
)

# -- courier --
media_uploads = Counter("weir_media_uploads_total", "Uploads of media: ok, failed, refused, quota.", ["result"])
media_expiring = Gauge("weir_media_expiring", "Wanted files of the media library that wait for an upload.")
api_requests = Counter(
    "weir_wechat_api_requests_total",
    "Calls of WeChat's API by class of result: ok, throttled, auth, quota, user_window, unknown, error.",
    ["api", "result"],
)
api_seconds = Histogram(
    "weir_wechat_api_request_duration_seconds",
    "Time of one call of WeChat's API.",
    ["api"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
sends = Counter(
    "weir_courier_sends_total", "Sends by class and final state: sent, failed, unknown, late_claim.", ["class", "state"]
)
rate_limit_wait = Histogram(
    "weir_courier_rate_limit_wait_seconds", "Wait for a rate permit.", buckets=(0.01, 0.1, 0.5, 1, 5, 30)
)
paused_accounts = Gauge(
    "weir_courier_paused_accounts",
    "Accounts that send nothing for now, by reason: throttled, unreachable, quota (until Beijing's midnight), token.",
    ["reason"],
)
token_expires = Gauge("weir_access_token_expires_timestamp_seconds", "When the soonest-ending access token ends.")

# -- agent --
conversations = Gauge("weir_conversations", "Conversations by state: waiting, assigned.", ["state"])

llm_requests = Counter(
    "weir_llm_requests_total",
    "Drafts asked for: ok, cap, throttled, refused, timeout, unreachable, error, garbage, uncounted.",
    ["result"],
)
llm_tokens = Counter("weir_llm_tokens_total", "Tokens used by drafts; a call of unknown outcome counts in full.")

# -- history --
stored = Counter("weir_history_stored_total", "Documents written: new, duplicate.", ["result"])
store_batch = Histogram("weir_history_batch_documents", "Documents in one write.", buckets=(1, 4, 16, 64, 256, 1024))
store_seconds = Histogram(
    "weir_mongo_command_duration_seconds",
    "Time of one command to MongoDB.",
    ["command", "result"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)

incident_recipients = Counter(
    "weir_incident_recipients_total",
    "Recipients of corrections by what became of them: released, sent, failed, unknown, skipped.",
    ["result"],
)
incidents_open = Gauge("weir_incidents_open", "Incidents whose finding or correction is under way, paused ones too.")

# -- common --
http_requests = Counter(
    "weir_http_requests_total", "HTTP requests by route template.", ["route", "method", "code_class"]
)
loop_lag = Histogram(
    "weir_loop_lag_seconds", "How late the event loop runs a timer.", buckets=(0.001, 0.01, 0.05, 0.1, 0.5, 1)
)

CONTENT_TYPE = CONTENT_TYPE_LATEST


def kind_label(kind: str) -> str:
    """A message kind as a label: the known ones, else ``other``."""
    return kind if kind in MESSAGE_KINDS else "other"


def exposition() -> bytes:
    """The registry in Prometheus' text format."""
    return prometheus.generate_latest()
