"""Settings: one frozen object a process, read from the environment once and handed down."""

import os
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import unquote

from pydantic import Field, FilePath, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shared.addresses.postgres import parse_postgres_address
from shared.addresses.redis import RedisAddress, parse_redis_address
from shared.contradictions import ContradictingSettingsError, contradictions
from shared.errors import RunyardError
from shared.lifecycle import RunKind
from shared.setting_types import (
    AllowedModels,
    Credentials,
    Duration,
    HeaderFields,
    LogFormat,
    LogLevel,
    LogLevels,
    Networks,
    Origins,
    Port,
    QueueName,
    QueueNames,
    Retention,
    RootPath,
    Token,
    WebAddress,
    WorkerName,
)
from shared.terms import ModelRules, Terms
from shared.variables import (
    FILE,
    PREFIX,
    Environment,
    SecretFiles,
    UnknownVariableError,
    unknown_variables,
    value_of,
    variable_of,
    variables_of,
)
from shared.workers import default_name

TRANSACTION = "transaction"
"""A value of `database_pooler`: the pooler lends a connection for one transaction."""

LEAST_MEMORY: Final = 32 * 1_048_576
"""Bytes without which Python starts no program."""

RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "RUNYARD_QUEUE": "RUNYARD_RUN_QUEUE",
        "RUNYARD_QUEUES": "RUNYARD_WORKER_QUEUES",
    }
)
"""Old variable to new variable. A process that reads settings refuses to start while an old one is set."""


class RenamedVariableError(RunyardError):
    """The environment sets a variable by an old name."""

    def __init__(self, old: str, new: str, why: str = "") -> None:
        super().__init__(f"{old} is now {new}{why}: set {new} and remove {old}.")


class Settings(BaseSettings):
    """All settings. Each is the variable `RUNYARD_<NAME>`; a duration without a unit is in seconds.

    Raises:
        pydantic.ValidationError: a variable has a value of the wrong kind, or a required one is missing.
        RenamedVariableError: the environment sets a variable by an old name.
        shared.variables.SecretFileError: the file of a secret cannot be used.
        shared.variables.SecretGivenTwiceError: a secret stands in its variable and in a file.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    database_url: SecretStr = Field(
        description="The PostgreSQL database, as postgresql://user:password@host:port/name. `?host=DIR` names"
        " a socket. Several hosts and other parameters follow the syntax of libpq."
    )
    database_pooler: str = Field(
        default="none",
        pattern=f"^(none|{TRANSACTION})$",
        description=f"`{TRANSACTION}` for a pooler that lends a connection per transaction, such as"
        " PgBouncer. Runyard then prepares no statements on the server and sets nothing in a session.",
    )
    migration_database_url: SecretStr | None = Field(
        default=None,
        description="The same database, for the role that owns the schema. Only `runyard migrate` uses it.",
    )
    redis_url: SecretStr = Field(
        description="The Redis server for broker and pub/sub, as redis://:password@host:port/database"
        " (rediss:// with TLS) or unix:///path?db=0."
    )
    redis_ca: FilePath | None = Field(
        default=None,
        description="A file of CA certificates for a rediss:// server, trusted beside the system's.",
    )
    redis_prefix: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._:-]{0,64}$",
        description="The prefix of every key and channel in Redis. Installations with different prefixes can"
        " share a server.",
    )
    log_format: LogFormat = Field(default="json", description="The format of logs: `json` or `console`.")
    log_level: LogLevel = Field(default="INFO", description="The lowest level that is logged.")
    log_levels: LogLevels = Field(
        default="",
        description="Levels of single modules, as module=level, separated by commas:"
        " `worker.attempt=debug,celery=info`. A level holds for what is below the module, too.",
    )

    traces_endpoint: WebAddress | None = Field(
        default=None,
        description="The OTLP/HTTP collector of traces, such as http://collector:4318. It needs the extra"
        " `otel`. Without a value, nothing is recorded.",
    )
    traces_headers: HeaderFields | None = Field(
        default=None,
        description="Headers for the collector, as name=value, separated by commas; values are"
        " percent-encoded.",
    )
    traces_share: float = Field(
        default=1, ge=0, le=1, description="The share of requests that are recorded, from 0 to 1."
    )
    traces_rate: float = Field(
        default=20,
        gt=0,
        description="Recorded requests of one tenant per second and API process, at most.",
    )
    traces_callers: str = Field(
        default="join",
        pattern="^(join|link)$",
        description="`join`: a request with a `traceparent` is a part of its caller's trace. `link`: it"
        " begins a trace of its own, with a link to the caller's.",
    )
    traces_content: bool = Field(
        default=False, description="Record prompts and answers of models in traces, shortened."
    )

    metrics_host: str = Field(
        default="127.0.0.1", description="The address at which each process serves its `/metrics`."
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="The port of each process's `/metrics`. Without a value nothing is measured there.",
    )
    metrics_on_api: bool = Field(
        default=False,
        description="Whether the API serves its `/metrics` at its own port, too; it needs"
        " `RUNYARD_METRICS_TOKEN`.",
    )
    metrics_token: Token | None = Field(
        default=None, description="The bearer token that scrapers send; 16 characters or more."
    )

    health_dir: Path | None = Field(
        default=None,
        description="The directory in which processes show `runyard health` that they live; by default"
        " `runyard-<user id>` among temporary files. Each installation of a user on a machine needs its own.",
    )

    api_host: str = Field(default="127.0.0.1", description="The address the API listens on.")
    api_port: Port = Field(default=8000, description="The port the API listens on.")
    api_processes: int = Field(
        default=1,
        gt=0,
        le=64,
        description="Processes of the API on this machine; each has a database pool, a body memory and"
        " limits of connections of its own.",
    )
    root_path: RootPath = Field(
        default="",
        description="The path under which a proxy publishes the API, such as /runyard. The proxy may strip"
        " it or pass it on.",
    )
    trusted_proxies: Networks = Field(
        default="",
        description="Addresses and networks of proxies whose `X-Forwarded-For` is trusted, separated by"
        " commas.",
    )
    cors_origins: Origins = Field(
        default="",
        description="Origins whose pages may call the API from a browser, such as https://app.example.com,"
        " separated by commas. Wildcards are not supported.",
    )
    console: str = Field(
        default="on",
        pattern="^(on|off)$",
        description="Whether the API serves the console at `/console`: `on` or `off`.",
    )
    max_body_bytes: int = Field(
        default=1_048_576, gt=0, description="Bytes of the largest request body; a larger one is a 413."
    )
    max_body_memory: int = Field(
        default=16_777_216,
        gt=0,
        description="Bytes of request bodies that the API holds in memory at once. Further requests wait.",
    )
    max_url_bytes: int = Field(
        default=8192, gt=0, description="Bytes of the longest URL; a longer one is a 414."
    )
    max_header_bytes: int = Field(
        default=32_768, gt=0, description="Bytes of a request's line and headers; more is a 431."
    )
    max_headers: int = Field(default=100, gt=0, description="Headers of a request; more are a 431.")
    header_timeout: Duration = Field(
        default=timedelta(seconds=10),
        description="How long a connection may take until its first byte, and then until the end of its"
        " headers.",
    )
    body_timeout: Duration = Field(
        default=timedelta(seconds=10),
        description="How long a request body may pause, or stay slower than `RUNYARD_BODY_RATE`; then a 408.",
    )
    body_rate: int = Field(
        default=16_384, ge=0, description="The lowest average rate of a request body, in bytes per second."
    )
    write_timeout: Duration = Field(
        default=timedelta(seconds=60),
        description="How long a client may read nothing of a response; then the connection closes.",
    )
    keep_alive: Duration = Field(
        default=timedelta(seconds=75), description="How long a connection may stay idle between two requests."
    )
    max_connections: int | None = Field(
        default=None,
        gt=0,
        description="Connections of one API process; beyond it, only probes are answered. The default is"
        " what the limit of open files allows, up to 4096.",
    )
    max_address_connections: int | None = Field(
        default=None,
        gt=0,
        description="Connections of one address to one API process; trusted proxies are exempt. The default"
        " is three quarters of `RUNYARD_MAX_CONNECTIONS`.",
    )
    key_refusals: int = Field(
        default=10,
        gt=0,
        description="Wrong keys per second that one address may try, divided among `RUNYARD_API_PROCESSES`."
        " Beyond it, a key that was not seen before is a 429.",
    )
    admission_timeout: Duration = Field(
        default=timedelta(seconds=15),
        description="How long a request may wait for capacity; then a 503, Overloaded.",
    )
    organization_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="The largest share of the API's connections and body memory for one organization.",
    )
    running_share: int | None = Field(
        default=None,
        gt=0,
        description="Runs of one tenant that workers hold at once; further runs wait. Without a value, one"
        " tenant may fill every slot.",
    )
    lock_timeout: Duration = Field(
        default=timedelta(seconds=5), description="How long a request waits for a row lock."
    )
    statement_timeout: Duration = Field(
        default=timedelta(seconds=30), description="How long one SQL statement of a request may take."
    )
    key_cache_ttl: Duration = Field(
        default=timedelta(seconds=3),
        description="How long a process caches an API key that it has looked up.",
    )
    key_use_flush: Duration = Field(
        default=timedelta(seconds=30),
        description="The interval at which the last use of keys is stored.",
    )
    max_keys: int = Field(
        default=100, gt=0, description="API keys of one user in one organization; more are a 409."
    )
    max_organizations: int = Field(
        default=100, gt=0, description="Organizations that one user may create; more are a 409."
    )
    max_external_runs: int = Field(
        default=1000,
        gt=0,
        description="External runs of one organization that may be active at once; more are a 409.",
    )
    max_stored_bytes: int = Field(
        default=107_374_182_400,
        gt=0,
        description="Stored bytes of one organization's runs, events and spans; more is a 409.",
    )
    max_queued_runs: int = Field(
        default=50_000,
        gt=0,
        description="QUEUED runs of one organization; more are a 429, with Retry-After.",
    )
    max_resources: int = Field(
        default=1_000_000,
        gt=0,
        description="Assistants of one organization; more are a 409. The same limit holds for threads,"
        " messages, rules, rulesets, structures and deployments, each.",
    )
    stream_heartbeat: Duration = Field(
        default=timedelta(seconds=5),
        description="The interval of heartbeats on an idle event stream. Most proxies close a stream after"
        " 60 silent seconds.",
    )
    stream_reread: Duration = Field(
        default=timedelta(seconds=3),
        description="How often the API checks all followed runs in PostgreSQL, in case Redis lost a message.",
    )
    stream_buffer: int = Field(
        default=256,
        gt=0,
        description="Live batches buffered for one reader. A reader that is further behind reads PostgreSQL.",
    )
    database_pool: int = Field(
        default=20,
        gt=0,
        description="PostgreSQL connections of a process of the API or a worker. The API needs at least 10.",
    )
    database_timeout: Duration = Field(
        default=timedelta(seconds=5), description="How long a process waits for a PostgreSQL connection."
    )

    model: str = Field(
        default="echo",
        description="The default model, as provider/model. An assistant or a run may name another.",
    )
    history_messages: int = Field(
        default=1_000,
        ge=0,
        description="The number of a thread's newest messages that a run gets, as far as they fit into the"
        " model's window.",
    )
    history_bytes: int = Field(
        default=2_097_152,
        ge=0,
        description="Bytes of a thread's newest messages that are read for a run.",
    )
    models: AllowedModels = Field(
        default="",
        description="Allowed models, as patterns separated by commas. Rules per organization have the form"
        " `<id>=openai/*, echo; *=echo`. Empty allows every model.",
    )
    worker_name: WorkerName = Field(
        default_factory=default_name,
        description="The worker's name in Flower, in logs, in its runs and for `runyard drain`. The default"
        " is `worker@` and the host name. Workers of the same name get numbers.",
    )
    worker_queues: QueueNames = Field(
        default="runs", description="The queues that a worker consumes, separated by commas."
    )
    run_queue: QueueName = Field(
        default="runs", description="The queue to which new assistant runs are sent."
    )
    structure_queue: QueueName = Field(
        default="runs", description="The queue to which new structure runs are sent."
    )
    concurrency: int = Field(default=50, gt=0, description="Runs that one worker process executes at once.")
    lease_ttl: Duration = Field(
        default=timedelta(seconds=20), description="How long a worker holds a run without renewing its lease."
    )
    heartbeat: Duration = Field(
        default=timedelta(seconds=5), description="The interval between two renewals of a lease."
    )
    cancel_grace: Duration = Field(
        default=timedelta(seconds=5), description="How long a cancelled run may take to stop cooperatively."
    )
    drain_grace: Duration = Field(
        default=timedelta(seconds=20), description="How long a stopping worker waits for its runs to end."
    )
    termination_grace: Duration | None = Field(
        default=None,
        description="How long the platform waits after SIGTERM before it kills a worker, if it is known. A"
        " worker whose graces are longer does not start.",
    )
    max_duration: Duration = Field(
        default=timedelta(hours=1),
        description="How long a run may be RUNNING; then it ends as ERROR, TimedOut.",
    )
    queue_ttl: Duration = Field(
        default=timedelta(hours=24),
        description="How long a run may be QUEUED; then it ends as ERROR, Expired.",
    )
    max_attempts: int = Field(
        default=3, ge=1, description="Attempts at a run that is lost before it is RUNNING."
    )
    max_duration_cap: Duration = Field(
        default=timedelta(days=7), description="The largest `max_duration` that a caller may request."
    )
    queue_ttl_cap: Duration = Field(
        default=timedelta(days=30), description="The largest `queue_ttl` that a caller may request."
    )
    max_attempts_cap: int = Field(
        default=100, ge=1, description="The largest `max_attempts` that a caller may request."
    )
    max_attempts_running: int = Field(
        default=1,
        ge=1,
        description="Attempts at a run that is lost while RUNNING, when its tools may already have acted.",
    )
    database_outage_grace: Duration = Field(
        default=timedelta(seconds=60), description="How long a worker survives an outage of PostgreSQL."
    )
    event_flush: Duration = Field(
        default=timedelta(milliseconds=40),
        description="How long a worker batches events before it stores them.",
    )
    echo_words_per_second: float = Field(
        default=0, ge=0, description="The speed of the echo model; 0 means no limit."
    )
    model_patience: Duration = Field(
        default=timedelta(minutes=5),
        description="How long a request to a busy or failing model is retried.",
    )
    model_silence: Duration = Field(
        default=timedelta(minutes=10),
        description="How long a model may send nothing; then the request is given up.",
    )
    model_max_steps: int = Field(
        default=20,
        gt=0,
        le=1_000,
        description="Rounds of tool calls in a run. After the last one, the model is asked once more,"
        " without tools.",
    )
    model_tool_output: int = Field(
        default=100_000,
        gt=0,
        description="Characters of a tool's output that a model receives. The rest is replaced by a note.",
    )
    model_max_tokens: int | None = Field(
        default=None,
        gt=0,
        description="Tokens of an answer, for providers whose requests must state them. Without a value, the"
        " table of"
        " models decides.",
    )
    model_window: int | None = Field(
        default=None,
        gt=0,
        description="The context window of every model, in tokens. Without a value, the table of models"
        " decides.",
    )
    model_limits: Path | None = Field(
        default=None,
        description="A JSON file of limits by model or by `assistant/<id>`. They override those of"
        " `worker/executors/models.json`.",
    )

    structure_api_url: WebAddress = Field(
        default="http://127.0.0.1:8000",
        description="The address at which the programs of structure runs reach the API.",
    )
    structures_dir: Path | None = Field(
        default=None,
        description="The directory whose folders structures may execute. Without a value, none may be"
        " executed.",
    )
    structure_callables: str = Field(
        default="",
        description="Functions that structures may call, as module:function, separated by commas. A module"
        " alone allows all functions that it defines. A suffix `@<id>+<id>` limits an entry to these"
        " organizations.",
    )
    structure_folders: str = Field(
        default="*",
        description="Folders that structures may execute, separated by commas; `*` stands for all others. A"
        " suffix `@<id>+<id>` limits an entry to these organizations.",
    )
    structure_env: str = Field(
        default="",
        description="Variables of the worker that are passed on to its programs, separated by commas.",
    )
    structure_env_allowed: str = Field(
        default="",
        description="Names of variables that callers may set although names of that kind can steer a loader"
        " or an interpreter. Shell patterns, separated by commas.",
    )
    structure_sandbox: str = Field(
        default="auto",
        pattern="^(auto|bubblewrap|user|none)$",
        description="The sandbox of structure programs: `bubblewrap`, `user` (needs root), `none` or `auto`."
        " `auto` chooses the strongest that works, and never `none`.",
    )
    structure_paths: str = Field(
        default="",
        description="Files and directories that sandboxed programs may read beside the system and Python,"
        " separated by commas.",
    )
    structure_uid: int = Field(
        default=60_600,
        gt=0,
        le=4_000_000_000,
        description="The first user id that a worker under root assigns to its programs.",
    )
    structure_uids: int = Field(
        default=400,
        gt=0,
        le=100_000,
        description="The number of these user ids. Each concurrent program on a machine needs one, or waits.",
    )
    structure_memory: int = Field(
        default=1_073_741_824,
        ge=LEAST_MEMORY,
        description="Bytes of memory that one structure run may use; at least 32 MiB.",
    )
    structure_cpu: Duration = Field(
        default=timedelta(hours=1), description="CPU time that one process of a structure run may use."
    )
    structure_file_size: int = Field(
        default=1_073_741_824, gt=0, description="Bytes of the largest file that a structure run may write."
    )
    structure_processes: int = Field(
        default=64, gt=0, description="Processes that a structure run may have at once."
    )
    structure_output: int = Field(
        default=4_194_304,
        gt=0,
        le=67_108_864,
        description="Bytes of a structure run's output; more ends it as FAILED, OutputTooLarge. The same"
        " limit holds for any other event that its program reports.",
    )
    structure_home: Path | None = Field(
        default=None,
        description="A directory with a permanent home for the programs of each organization, with caches"
        " and packages. Without a value, the home of a run is deleted with the run.",
    )
    structure_log: int = Field(
        default=1_048_576,
        gt=0,
        description="Bytes of a structure run's log that are kept. Each line counts 64 bytes more.",
    )

    reconcile_interval: Duration = Field(
        default=timedelta(seconds=5), description="The interval between two rounds of the reconciler."
    )
    republish_after: Duration = Field(
        default=timedelta(seconds=10),
        description="How long a run may wait for a worker before its task is sent again.",
    )

    retention_runs: Retention = Field(
        default=None,
        description="How long a run is kept after its end, with its events, output, logs and spans, such as"
        " `30d`. Without a value, or with 0, for ever. `runyard orgs retention` sets it for one"
        " organization.",
    )
    retention_threads: Retention = Field(
        default=None,
        description="How long a thread is kept in which nothing happens, with its messages, such as `90d`."
        " Without a value, or with 0, for ever.",
    )

    flower_host: str = Field(default="127.0.0.1", description="The address Flower listens on.")
    flower_port: Port = Field(default=5555, description="The port Flower listens on.")
    flower_url_prefix: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*)?$",
        description="The path under which a proxy publishes Flower, such as flower. The proxy passes it on.",
    )
    flower_state: Path | None = Field(
        default=None,
        description="The file in which Flower keeps its tasks over restarts. Only its user may write to the"
        " directory. Without a value it begins anew.",
    )
    flower_forget_after: Duration = Field(
        default=timedelta(minutes=5),
        description="How long Flower shows a worker that is silent.",
    )
    flower_basic_auth: Credentials | None = Field(
        default=None, description="Credentials for Flower, as user:password. Required outside loopback."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then files of secrets, then the environment."""
        del env_settings, dotenv_settings, file_secret_settings
        return init_settings, SecretFiles(settings_cls), Environment(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_names(cls, values: Any) -> Any:
        for variable in sorted(os.environ):
            if new := RENAMED.get(variable.upper()):
                raise RenamedVariableError(variable, new)
        return values

    @model_validator(mode="after")
    def _keep_strangers_out(self) -> Self:
        if self.metrics_on_api and self.metrics_token is None:
            raise ValueError(
                "RUNYARD_METRICS_ON_API needs RUNYARD_METRICS_TOKEN, as strangers reach the API's port"
            )
        return self

    @property
    def has_metrics(self) -> bool:
        """Whether processes count."""
        return self.metrics_port is not None or self.metrics_on_api

    @property
    def traces_header_fields(self) -> dict[str, str]:
        """`traces_headers`, by name."""
        listed = self.traces_headers.get_secret_value() if self.traces_headers else ""
        pairs = (pair.partition("=") for pair in listed.split(",") if pair.strip())
        return {name.strip(): unquote(value.strip()) for name, _, value in pairs}

    @property
    def queue_of(self) -> dict[RunKind, str]:
        """The queue of new runs, by their kind."""
        return {RunKind.ASSISTANT: self.run_queue, RunKind.STRUCTURE: self.structure_queue}

    @property
    def terms(self) -> Terms:
        """The models and limits that callers may ask for."""
        caps = {
            "max_duration": self.max_duration_cap,
            "queue_ttl": self.queue_ttl_cap,
            "max_attempts": self.max_attempts_cap,
        }
        return Terms(ModelRules.parse(self.models), caps)

    @property
    def postgres_address(self) -> dict[str, Any]:
        """`database_url`, as parameters of psycopg.

        Raises:
            shared.addresses.base.AddressError: the URL is not one of PostgreSQL.
        """
        return parse_postgres_address(self.database_url.get_secret_value())

    @property
    def redis_address(self) -> RedisAddress:
        """`redis_url` and `redis_ca`, for clients of Redis and for Celery.

        Raises:
            shared.addresses.base.AddressError: the URL is not one of a Redis that Runyard can use.
        """
        return parse_redis_address(self.redis_url.get_secret_value(), ca=self.redis_ca)

    def for_migrations(self) -> Self:
        """A copy whose `database_url` is `migration_database_url`; the settings themselves without one.

        Raises:
            shared.addresses.base.AddressError: `migration_database_url` is not a URL of PostgreSQL.
        """
        if not self.migration_database_url:
            return self
        url = self.migration_database_url.get_secret_value()
        parse_postgres_address(url, variable="RUNYARD_MIGRATION_DATABASE_URL")
        return self.model_copy(update={"database_url": self.migration_database_url})

    def check_addresses(self) -> None:
        """Check both addresses at the start, rather than at the first connection.

        Raises:
            shared.addresses.base.AddressError: an address cannot be used.
        """
        _ = self.postgres_address, self.redis_address


def demand_structure_api_url(settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse `RUNYARD_API_URL` where it is the old name of a worker's `RUNYARD_STRUCTURE_API_URL`.

    The command line still reads `RUNYARD_API_URL`, together with `RUNYARD_API_KEY`. So a worker refuses
    it only if it may execute structures, has no `RUNYARD_STRUCTURE_API_URL`, and no key stands beside it.

    Raises:
        RenamedVariableError: the worker would ignore the address that was meant for its programs.
    """
    executes_structures = settings.structures_dir is not None or bool(settings.structure_callables)
    if not executes_structures or "structure_api_url" in settings.model_fields_set:
        return
    if "RUNYARD_API_URL" in environment and "RUNYARD_API_KEY" not in environment:
        raise RenamedVariableError(
            "RUNYARD_API_URL", "RUNYARD_STRUCTURE_API_URL", " for a worker that executes structures"
        )


def find_unknown_variables(environment: Mapping[str, str] = os.environ) -> dict[str, str | None]:
    """Find the variables with the prefix that are no settings, each with the setting it resembles most."""
    return unknown_variables(list(variables_of(Settings.model_fields)), environment)


def is_given(name: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment gives a secret setting, in its variable or in a file."""
    variable = variable_of(name)
    return bool(value_of(variable, environment) or value_of(f"{variable}{FILE}", environment))


@lru_cache(maxsize=4)
def _secrets_of(paths: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    found = SecretFiles(Settings, dict(paths))()
    return MappingProxyType({variable_of(name): secret for name, secret in found.items()})


def secrets_in_files(environment: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """The secrets that an environment gives by files, by their own variables. Each file is read once.

    Raises:
        shared.variables.SecretFileError: a file cannot be used.
    """
    paths = {
        name: value
        for name, value in environment.items()
        if name.upper().startswith(PREFIX) and name.upper().endswith(FILE)
    }
    return _secrets_of(tuple(sorted(paths.items())))


def demand_known_variables(environment: Mapping[str, str] = os.environ) -> None:
    """Check that every variable with the prefix is a setting.

    Raises:
        shared.variables.UnknownVariableError: a variable is none.
    """
    if unknown := find_unknown_variables(environment):
        raise UnknownVariableError(unknown)


def demand_startable(settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
    """Check at the start of a process what no single setting shows.

    Raises:
        shared.variables.UnknownVariableError: the environment sets a variable that is no setting.
        shared.contradictions.ContradictingSettingsError: settings contradict each other.
        shared.addresses.base.AddressError: an address cannot be used.
    """
    demand_known_variables(environment)
    if found := contradictions(settings):
        raise ContradictingSettingsError(" ".join(found))
    settings.check_addresses()


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process.

    Raises:
        pydantic.ValidationError: a variable has a value of the wrong kind, or a required one is missing.
        RenamedVariableError: the environment sets a variable by an old name.
        shared.variables.SecretFileError: the file of a secret cannot be used.
        shared.variables.SecretGivenTwiceError: a secret stands in its variable and in a file.
        shared.variables.UnknownVariableError: the environment sets a variable that is no setting.
        shared.contradictions.ContradictingSettingsError: settings contradict each other.
        shared.addresses.base.AddressError: an address cannot be used.
    """
    settings = Settings()  # type: ignore[call-arg]  # the required fields come from the environment
    demand_startable(settings)
    secrets_in_files()  # read now, for logs: a file may be replaced later
    return settings
