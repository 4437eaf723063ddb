"""Settings of every process, from the environment, read once and handed down."""

from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _seconds(value: object) -> object:
    """Read a bare number as seconds; pydantic reads ISO 8601 (`PT20S`) by itself."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Seconds = Annotated[timedelta, BeforeValidator(_seconds), Field(gt=timedelta(0))]


def names_of(listed: str) -> list[str]:
    """The names of a list separated by commas."""
    return [name for part in listed.split(",") if (name := part.strip())]


class Settings(BaseSettings):
    """Everything that can be set, each as `RUNYARD_<NAME>`; durations are in seconds.

    Raises:
        pydantic.ValidationError: a variable has a value of the wrong kind, or a needed one is missing.
    """

    model_config = SettingsConfigDict(env_prefix="RUNYARD_", frozen=True, extra="ignore")

    database_url: SecretStr = Field(
        description="PostgreSQL, as postgresql://user:password@host:port/name; `?host=DIR` for a socket."
    )
    redis_url: SecretStr = Field(
        description="Redis, as redis://:password@host:port/database; broker and pub/sub."
    )
    log_format: str = Field(default="json", pattern="^(json|console)$", description="`json` or `console`.")
    log_level: str = Field(default="INFO", description="The least severe level that is logged.")

    api_host: str = Field(default="127.0.0.1", description="The address the API listens on.")
    api_port: int = Field(default=8000, ge=0, le=65535, description="The port the API listens on.")
    max_body_bytes: int = Field(
        default=1_048_576, gt=0, description="The largest request body; a larger one is a 413."
    )
    key_cache_ttl: Seconds = Field(
        default=timedelta(seconds=3), description="For how long a process trusts a key it has looked up."
    )
    key_use_flush: Seconds = Field(
        default=timedelta(seconds=30),
        description="The pause between two records of when keys were last used.",
    )
    stream_heartbeat: Seconds = Field(
        default=timedelta(seconds=5), description="The pause between comments on an idle event stream."
    )
    stream_reread: Seconds = Field(
        default=timedelta(seconds=3),
        description="How often an idle stream looks into PostgreSQL, in case a publish was lost.",
    )
    stream_buffer: int = Field(
        default=256,
        gt=0,
        description="Live batches kept for one reader; one further behind reads PostgreSQL.",
    )
    database_pool: int = Field(
        default=20, gt=0, description="PostgreSQL connections one process keeps at the most."
    )
    database_timeout: Seconds = Field(
        default=timedelta(seconds=5), description="How long to wait for a PostgreSQL connection."
    )

    model: str = Field(
        default="echo", description="The model of runs whose assistant names none, as provider/model."
    )
    queues: str = Field(default="runs", description="The queues a worker takes from, separated by commas.")
    queue: str = Field(default="runs", description="The queue that new runs are sent to.")
    structure_queue: str = Field(default="runs", description="The queue that new structure runs are sent to.")
    concurrency: int = Field(default=50, gt=0, description="Runs one worker process executes at once.")
    lease_ttl: Seconds = Field(
        default=timedelta(seconds=20), description="How long a silent worker keeps its runs."
    )
    heartbeat: Seconds = Field(
        default=timedelta(seconds=5), description="The pause between two renewals of a lease."
    )
    cancel_grace: Seconds = Field(
        default=timedelta(seconds=5), description="How long a cancelled run may take to stop by itself."
    )
    drain_grace: Seconds = Field(
        default=timedelta(seconds=20), description="How long a stopping worker lets its runs go on."
    )
    max_duration: Seconds = Field(
        default=timedelta(hours=1), description="How long a run may be RUNNING; then ERROR, TimedOut."
    )
    queue_ttl: Seconds = Field(
        default=timedelta(hours=24), description="How long a run may stay QUEUED; then ERROR, Expired."
    )
    max_attempts: int = Field(
        default=3, ge=1, description="Attempts of a run that is lost before it was RUNNING."
    )
    max_attempts_running: int = Field(
        default=1,
        ge=1,
        description="Attempts of a run that is lost while RUNNING, when tools may have acted.",
    )
    database_outage_grace: Seconds = Field(
        default=timedelta(seconds=60), description="How long a worker outlives PostgreSQL being away."
    )
    event_flush: Seconds = Field(
        default=timedelta(milliseconds=40), description="How long events gather before they are stored."
    )
    echo_words_per_second: float = Field(
        default=0, ge=0, description="The pace of the echo model; 0 is as fast as it can."
    )
    model_patience: Seconds = Field(
        default=timedelta(minutes=5),
        description="For how long a model that is busy or out of reach is asked again.",
    )
    model_silence: Seconds = Field(
        default=timedelta(minutes=5),
        description="For how long a model may send nothing before it is given up.",
    )
    model_max_steps: int = Field(
        default=20,
        gt=0,
        le=1_000,
        description="How often a model may call tools in a run; then it is asked once more, without tools.",
    )
    model_tool_output: int = Field(
        default=100_000,
        gt=0,
        description="Characters of what a tool gives that a model is shown; the rest is cut, with a note.",
    )
    model_max_tokens: int | None = Field(
        default=None,
        gt=0,
        description="Tokens of an answer, where a request must say; unset, the table of models says.",
    )
    model_window: int | None = Field(
        default=None, gt=0, description="Tokens that fit into every model; unset, the table of models says."
    )
    model_limits: Path | None = Field(
        default=None,
        description="A JSON file of models' limits, which go before those of `worker/executors/models.json`.",
    )

    api_url: str = Field(
        default="http://127.0.0.1:8000", description="Where the programs of structure runs reach the API."
    )
    structures_dir: Path | None = Field(
        default=None, description="The directory whose folders structures may execute; without it, none."
    )
    structure_callables: str = Field(
        default="",
        description="What structures may import and call, as module:callable or module, separated by commas.",
    )
    structure_env: str = Field(
        default="",
        description="Variables of the worker that its programs get, too, separated by commas.",
    )
    structure_memory: int = Field(
        default=1_073_741_824, gt=0, description="Bytes of memory one structure run may use."
    )
    structure_cpu: Seconds = Field(
        default=timedelta(hours=1), description="CPU time that one process of a structure run may use."
    )
    structure_file_size: int = Field(
        default=1_073_741_824, gt=0, description="Bytes of the largest file a structure run may write."
    )
    structure_processes: int = Field(
        default=64, gt=0, description="Processes that a structure run may have at once."
    )
    structure_log: int = Field(
        default=1_048_576,
        gt=0,
        description="Bytes of a structure run's output that are kept; each line counts 64 more.",
    )

    reconcile_interval: Seconds = Field(
        default=timedelta(seconds=5), description="The pause between two rounds of the reconciler."
    )
    republish_after: Seconds = Field(
        default=timedelta(seconds=10),
        description="How long a run may wait for a worker before its message is sent again.",
    )

    flower_host: str = Field(default="127.0.0.1", description="The address Flower listens on.")
    flower_port: int = Field(default=5555, ge=0, le=65535, description="The port Flower listens on.")
    flower_basic_auth: SecretStr | None = Field(
        default=None, description="user:password for Flower; needed outside loopback."
    )

    @property
    def sqlalchemy_url(self) -> str:
        """`database_url` with the driver that SQLAlchemy is to use."""
        url = self.database_url.get_secret_value()
        scheme, separator, rest = url.partition("://")
        if scheme in {"postgres", "postgresql"}:
            return f"postgresql+psycopg{separator}{rest}"
        return url


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process."""
    return Settings()  # type: ignore[call-arg]  # the required fields come from the environment
