"""Every metric of Runyard. docs/operating/metrics.md is rendered from it.

No label names an organization, a run or an assistant: what has no bound is no label.
"""

from typing import Final

from shared.extensions import FRAMEWORK_PROVIDERS
from shared.lifecycle import TERMINAL, Reason, RunKind, StoppedHow
from shared.metrics.instruments import Counter, Gauge, Histogram, Label, every_instrument

KIND: Final = Label("kind", tuple(RunKind))
QUEUE: Final = Label("queue", most=len(RunKind))  # the settings name one for each kind
END: Final = Label("end", tuple(sorted(TERMINAL)))
REASON: Final = Label("reason", tuple(Reason))
HOW: Final = Label("how", tuple(StoppedHow))
PROVIDER: Final = Label("provider", tuple(sorted(FRAMEWORK_PROVIDERS)), most=16)
OUTBOX: Final = Label("outbox", ("outbox-tasks", "outbox-events", "outbox-watchers", "revocations"))
ROUTE: Final = Label("route", ("unmatched",), most=160)

FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds, for what takes milliseconds and must not take seconds."""

WAITING: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
"""Seconds, for what depends on the load."""

WORKING: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0)
"""Seconds, for what depends on models and programs."""

# Runs. Each is counted by the process that moves the run, once the move is committed.
RUNS_SUBMITTED: Final = Counter("runs_submitted", "Runs that were accepted.", KIND)
RUNS_ENDED: Final = Counter("runs_ended", "Runs that ended, by their end and the reason.", KIND, END, REASON)
RUNS_REQUEUED: Final = Counter("runs_requeued", "Runs that went back into the queue.", KIND, REASON)
QUEUE_WAIT: Final = Histogram(
    "queue_wait_seconds", "From the queue to the claim of a worker.", KIND, QUEUE, buckets=WAITING
)
START_LATENCY: Final = Histogram("start_latency_seconds", "From the queue to RUNNING.", KIND, buckets=WAITING)
RUN_DURATION: Final = Histogram("run_duration_seconds", "From RUNNING to an end.", KIND, END, buckets=WORKING)
CANCEL_STOP: Final = Histogram(
    "cancel_stop_seconds", "From the cancel of a run to the end of its work.", HOW, buckets=FAST
)

# The worker.
SLOTS: Final = Gauge("slots", "Runs that the worker can execute at once.")
BUSY_SLOTS: Final = Gauge("busy_slots", "Runs that the worker executes.")
ABANDONED_THREADS: Final = Gauge("abandoned_threads", "Threads whose run did not stop; they still run.")
LEASES_LOST: Final = Counter("leases_lost", "Runs that were taken from an attempt that had not ended.")
LEASE_ERRORS: Final = Counter("lease_errors", "Renewals of leases that failed.")
FLUSH_SECONDS: Final = Histogram(
    "flush_seconds",
    "One transaction of the event writer, of many runs together or of one alone.",
    Label("by", ("together", "alone")),
    buckets=FAST,
)
FLUSH_EVENTS: Final = Histogram(
    "flush_events",
    "Events of one transaction of the event writer.",
    buckets=(1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 2048.0),
)
MODEL_CALLS: Final = Counter(
    "model_calls",
    "Requests to models; busy: the provider asked to wait, refused: the model did not want to answer.",
    PROVIDER,
    Label("outcome", ("answered", "busy", "refused", "failed", "stopped")),
)
MODEL_CALL_SECONDS: Final = Histogram(
    "model_call_seconds", "One request to a model, to the end of its answer.", PROVIDER, buckets=WORKING
)
TOKENS: Final = Counter("tokens", "Tokens of model calls.", PROVIDER, Label("direction", ("input", "output")))
STRUCTURE_CALLS: Final = Counter(
    "structure_calls", "Calls of structures as tools.", Label("outcome", ("succeeded", "failed", "stopped"))
)

# Messages.
DISPATCHES: Final = Counter("dispatches", "Task messages that were sent to workers.", KIND)
PUBLISH_SECONDS: Final = Histogram(
    "publish_seconds", "From the commit of events to their publication in Redis.", buckets=FAST
)
SENDS_FAILED: Final = Counter("sends_failed", "Messages to Redis that were not sent.", OUTBOX)
SENDS_DROPPED: Final = Counter("sends_dropped", "Messages to Redis that found no room.", OUTBOX)
BROKER_ERRORS: Final = Counter(
    "broker_errors",
    "Lost or refused connections to Redis.",
    Label("by", ("sender", "consumer", "subscriber", "reconciler")),
)
DATABASE_ERRORS: Final = Counter(
    "database_errors",
    "Statements and connections that PostgreSQL refused, by whose fault it is.",
    Label("fault", ("contention", "outage", "gone", "taken", "unstorable", "bug")),
)

# The API.
HTTP_REQUESTS: Final = Counter(
    "http_requests",
    "Answered requests, by route and class of status.",
    ROUTE,
    Label("status", ("1xx", "2xx", "3xx", "4xx", "5xx", "none")),
)
HTTP_SECONDS: Final = Histogram(
    "http_request_seconds", "From a request to the first byte of its answer.", ROUTE, buckets=FAST
)
STREAMS_OPENED: Final = Counter(
    "streams_opened", "Event streams, from the start or resumed.", Label("how", ("new", "resumed"))
)
STREAMS_OPEN: Final = Gauge("streams_open", "Open event streams.")
STREAMS_BEHIND: Final = Counter(
    "streams_behind", "Readers that fell behind, and were sent back to PostgreSQL."
)
SEND_DELAY: Final = Histogram(
    "stream_send_seconds",
    "From the arrival of a published batch to its reader's turn; one of eight is measured.",
    buckets=FAST,
)
WAITING_CALLERS: Final = Gauge("waiting_callers", "Requests that wait for the end of a run.")

# The reconciler.
RECONCILER_ACTIONS: Final = Counter(
    "reconciler_actions",
    "What the reconciler did: repairs of runs, by kind.",
    Label(
        "action",
        ("requeued", "broken", "stop_confirmed", "expired", "timed_out", "admitted", "sent_again"),
    ),
)
RECONCILER_ROUNDS: Final = Counter(
    "reconciler_rounds", "Rounds of the reconciler.", Label("outcome", ("done", "database_away"))
)
RECONCILER_ROUND_SECONDS: Final = Histogram(
    "reconciler_round_seconds", "One round of the reconciler.", buckets=FAST
)

ALL: Final = every_instrument()
