"""The Celery application: its configuration, each setting with its reason."""

from typing import Any, Final

from celery import Celery

from shared.settings import Settings

SOCKET_TIMEOUT: Final = 5  # seconds without an answer until a connection counts as dead
CONNECT_TIMEOUT: Final = 2  # seconds


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's settings. PostgreSQL is the truth; a message is a wake-up call that may get lost.

    Raises:
        shared.addresses.base.AddressError: `settings.redis_url` is none of a Redis that we can use.
    """
    address = settings.redis_address
    return {
        "broker_url": address.broker_url,
        # Without it, Celery verifies nothing of a server it reaches by TLS.
        "broker_use_ssl": dict(address.tls) or None,
        "result_backend": None,  # outcomes live in PostgreSQL
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_default_queue": settings.run_queue,
        "task_create_missing_queues": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        # Late acknowledgement neither prevents loss on Redis nor survives its restart.
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,  # the lease decides
        "task_retry_on_worker_lost": False,
        # Nothing waits inside a busy worker.
        "worker_disable_prefetch": True,
        "worker_prefetch_multiplier": 1,
        "task_publish_retry": False,  # the reconciler sends again
        "worker_send_task_events": True,  # Flower
        "task_send_sent_event": True,  # Flower shows what is queued
        "worker_hijack_root_logger": False,  # structlog has it
        "worker_redirect_stdouts": False,
        "worker_cancel_long_running_tasks_on_connection_loss": True,  # no effect; silences a warning
        "worker_soft_shutdown_timeout": 0,  # our own drain
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # the default gives up after 100
        "broker_channel_error_retry": True,  # a Redis that refuses to write is no reason to exit
        "broker_transport_options": {
            # Of queues, of what workers are told, and of what they tell: whose they are.
            "global_keyprefix": settings.redis_prefix,
            "visibility_timeout": 300,  # only for what a dying worker had reserved
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "socket_timeout": SOCKET_TIMEOUT,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
        "event_queue_ttl": 60,
        "timezone": "UTC",
    }


def make_celery(settings: Settings) -> Celery:
    """Make the Celery application of one process."""
    app = Celery("runyard", set_as_current=False)
    app.conf.update(configuration(settings))
    return app
