"""The worker process: supervisor, Celery consumer, pools, drain."""
