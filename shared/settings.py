"""Settings of every process, from the environment, read once and handed down."""

import os
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, FilePath, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.postgres_address import parse_postgres_address
from shared.redis_address import RedisAddress, parse_redis_address
from shared.runs.lifecycle import RunKind
from shared.terms import ModelRules
from shared.web_addresses import parse_network, parse_origin, parse_root_path
from shared.worker_names import check_name, default_name

TRANSACTION = "transaction"
"""The way of a pooler that lends a connection for one transaction."""


def _seconds(value: object) -> object:
    """Read a bare number as seconds; pydantic reads ISO 8601 (`PT20S`) by itself."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _log_format(value: str) -> str:
    return _one_of(value, ("json", "console"))


def _log_level(value: str) -> str:
    return _one_of(value.upper(), ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))


def _one_of(value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"it is to be one of {', '.join(allowed)}")
    return value


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        is_one = False
    if not is_one:
        raise ValueError("it is to be http://host:port or https://host")
    return value


def _origins(value: str) -> str:
    return ",".join(map(parse_origin, names_of(value)))


def _networks(value: str) -> str:
    return ",".join(str(parse_network(name)) for name in names_of(value))


def _credentials(value: SecretStr) -> SecretStr:
    """Check what Flower is to be given; it would take anything, and let nobody in by most of it."""
    for pair in value.get_secret_value().split(","):
        user, separator, password = pair.partition(":")
        if not (user.strip() and separator and password.strip()):
            raise ValueError("it is to be user:password, several by commas")
    return value


def _names(value: str) -> str:
    if not names_of(value):
        raise ValueError("it names no queue")
    return value


Seconds = Annotated[timedelta, BeforeValidator(_seconds), Field(gt=timedelta(0))]


def _model_rules(text: str) -> str:
    ModelRules.parse(text)
    return text


def names_of(listed: str) -> list[str]:
    """The names of a list separated by commas."""
    return [name for part in listed.split(",") if (name := part.strip())]


PREFIX: Final = "RUNYARD_"
"""How the name of a variable begins that is a setting."""

NEARLY: Final = 0.85
"""How alike two names are of which one is taken for a slip, as `difflib` measures it."""


class Settings(BaseSettings):
    """Everything that can be set, each as `RUNYARD_<NAME>`; durations are in seconds.

    Raises:
        pydantic.ValidationError: a variable has a value of the wrong kind, or a needed one is missing.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    database_url: SecretStr = Field(
        description="PostgreSQL, as postgresql://user:password@host:port/name; `?host=DIR` for a socket."
        " Several hosts, and whatever else libpq knows, as libpq writes it."
    )
    database_pooler: str = Field(
        default="none",
        pattern=f"^(none|{TRANSACTION})$",
        description=f"`{TRANSACTION}` if PostgreSQL is reached through a pooler that lends connections for a"
        " transaction, as pgbouncer does: nothing is prepared on the server or set in a session.",
    )
    migration_database_url: SecretStr | None = Field(
        default=None,
        description="The same database for the role that owns the schema: `runyard migrate` alone uses it.",
    )
    redis_url: SecretStr = Field(
        description="Redis, as redis://:password@host:port/database (rediss:// with TLS) or"
        " unix:///path?db=0; broker and pub/sub."
    )
    redis_ca: FilePath | None = Field(
        default=None,
        description="A file of certificates that may vouch for a rediss:// server, beside the system's.",
    )
    redis_prefix: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._:-]{0,64}$",
        description="What every key and channel in Redis begins with, so that installations can share one.",
    )
    log_format: Annotated[str, AfterValidator(_log_format)] = Field(
        default="json", description="`json` or `console`."
    )
    log_level: Annotated[str, AfterValidator(_log_level)] = Field(
        default="INFO", description="The least severe level that is logged."
    )

    api_host: str = Field(default="127.0.0.1", description="The address the API listens on.")
    api_port: int = Field(default=8000, ge=0, le=65535, description="The port the API listens on.")
    root_path: Annotated[str, AfterValidator(parse_root_path)] = Field(
        default="",
        description="The path below which a proxy shows the API, such as /runyard, taken off or not.",
    )
    trusted_proxies: Annotated[str, AfterValidator(_networks)] = Field(
        default="",
        description="Addresses and networks of proxies whose `X-Forwarded-For` is believed, by commas.",
    )
    cors_origins: Annotated[str, AfterValidator(_origins)] = Field(
        default="",
        description="Origins whose pages may call the API from a browser, such as https://app.example.com,"
        " by commas; each is exact.",
    )
    max_body_bytes: int = Field(
        default=1_048_576, gt=0, description="The largest request body; a larger one is a 413."
    )
    max_body_memory: int = Field(
        default=16_777_216,
        gt=0,
        description="Bytes of all request bodies that the API holds at once; the others wait.",
    )
    max_url_bytes: int = Field(default=8192, gt=0, description="The longest URL; a longer one is a 414.")
    max_header_bytes: int = Field(
        default=32_768, gt=0, description="Bytes of a request's line and headers; more are a 431."
    )
    max_headers: int = Field(default=100, gt=0, description="Headers of a request; more are a 431.")
    header_timeout: Seconds = Field(
        default=timedelta(seconds=10),
        description="How long a connection may take to its first byte, and then to the end of its headers.",
    )
    body_timeout: Seconds = Field(
        default=timedelta(seconds=10),
        description="How long a request body may pause, and be slower than `RUNYARD_BODY_RATE`; then a 408.",
    )
    body_rate: int = Field(
        default=16_384, ge=0, description="Bytes a second that a request body has to come with on average."
    )
    write_timeout: Seconds = Field(
        default=timedelta(seconds=60), description="How long a reader may take nothing of what is sent to it."
    )
    keep_alive: Seconds = Field(
        default=timedelta(seconds=75), description="How long a connection may be idle between two requests."
    )
    max_connections: int | None = Field(
        default=None,
        gt=0,
        description="Connections of an API process; beyond, only probes are answered. "
        "By default what the limit of open files allows, up to 4096.",
    )
    max_address_connections: int | None = Field(
        default=None,
        gt=0,
        description="Connections of one address but a trusted proxy's; by default three quarters of all.",
    )
    key_refusals: int = Field(
        default=10,
        gt=0,
        description="Wrong keys a second that one address may try; beyond, keys not seen before are a 429.",
    )
    admission_timeout: Seconds = Field(
        default=timedelta(seconds=15),
        description="How long a request may wait for its turn; then 503, Overloaded.",
    )
    organization_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="The share of the API's connections and body memory one organization has at the most.",
    )
    running_share: int | None = Field(
        default=None,
        gt=0,
        description="Runs of one tenant that workers have at once, the others wait;"
        " without it, as many as there are slots.",
    )
    lock_timeout: Seconds = Field(
        default=timedelta(seconds=5), description="How long a request waits for a row that another changes."
    )
    statement_timeout: Seconds = Field(
        default=timedelta(seconds=30), description="How long one statement of a request may take."
    )
    key_cache_ttl: Seconds = Field(
        default=timedelta(seconds=3), description="For how long a process trusts a key it has looked up."
    )
    key_use_flush: Seconds = Field(
        default=timedelta(seconds=30),
        description="The pause between two records of when keys were last used.",
    )
    max_keys: int = Field(
        default=100, gt=0, description="API keys one user may have in one organization; more are a 409."
    )
    max_organizations: int = Field(
        default=100, gt=0, description="Organizations one user may make; more are a 409."
    )
    max_external_runs: int = Field(
        default=1000,
        gt=0,
        description="External runs of one organization that may be under way at once; more are a 409.",
    )
    max_stored_bytes: int = Field(
        default=107_374_182_400,
        gt=0,
        description="Bytes of runs, their events and spans one organization may keep; more are a 409.",
    )
    max_queued_runs: int = Field(
        default=50_000,
        gt=0,
        description="Runs of one organization that may be QUEUED at once; more are a 429, with Retry-After.",
    )
    max_resources: int = Field(
        default=1_000_000,
        gt=0,
        description="Assistants one organization may keep, and as many each of threads, messages, rules, "
        "rulesets, structures and deployments; more are a 409.",
    )
    stream_heartbeat: Seconds = Field(
        default=timedelta(seconds=5),
        description="How long an event stream may be silent; most proxies end it after 60.",
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
        default=20,
        gt=0,
        description="PostgreSQL connections one process keeps at the most; the API needs 9 of them.",
    )
    database_timeout: Seconds = Field(
        default=timedelta(seconds=5), description="How long to wait for a PostgreSQL connection."
    )

    model: str = Field(
        default="echo", description="The model of runs whose assistant names none, as provider/model."
    )
    history_messages: int = Field(
        default=1_000,
        ge=0,
        description="Newest messages of its thread that a run is given, if they fit into the model's window.",
    )
    history_bytes: int = Field(
        default=2_097_152,
        ge=0,
        description="Bytes of the newest messages of its thread that are read for a run.",
    )
    models: Annotated[str, AfterValidator(_model_rules)] = Field(
        default="",
        description="Models that may be used, as patterns separated by commas; by organization as"
        " `<id>=openai/*, echo; *=echo`. Empty: every model.",
    )
    worker_name: Annotated[str, AfterValidator(check_name)] = Field(
        default_factory=default_name,
        description="What a worker is called in Flower, in logs, in its runs and to `runyard drain`; "
        "by default `worker@` and the machine. Of several called alike, all but one get a number.",
    )
    queues: Annotated[str, AfterValidator(_names)] = Field(
        default="runs", description="The queues a worker takes from, separated by commas."
    )
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
    max_duration_cap: Seconds = Field(
        default=timedelta(days=7), description="The longest `max_duration` that a caller may ask for."
    )
    queue_ttl_cap: Seconds = Field(
        default=timedelta(days=30), description="The longest `queue_ttl` that a caller may ask for."
    )
    max_attempts_cap: int = Field(
        default=100, ge=1, description="The most `max_attempts` that a caller may ask for."
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
        description="For how long a model that is busy or fails is asked again.",
    )
    model_silence: Seconds = Field(
        default=timedelta(minutes=10),
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
        description="A JSON file of limits by model, or by `assistant/<id>`, which go before those of"
        " `worker/executors/models.json`.",
    )

    api_url: Annotated[str, AfterValidator(_web_address)] = Field(
        default="http://127.0.0.1:8000", description="Where the programs of structure runs reach the API."
    )
    structures_dir: Path | None = Field(
        default=None, description="The directory whose folders structures may execute; without it, none."
    )
    structure_callables: str = Field(
        default="",
        description=(
            "What structures may call, as module:function, or module for all that it defines, separated by "
            "commas; each may end in @ and the ids of the organizations it is for, joined by +."
        ),
    )
    structure_folders: str = Field(
        default="*",
        description=(
            "The folders that structures may execute, separated by commas; `*` is all others; each may end "
            "in @ and the ids of the organizations it is for, joined by +."
        ),
    )
    structure_env: str = Field(
        default="",
        description="Variables of the worker that its programs get, too, separated by commas.",
    )
    structure_env_allowed: str = Field(
        default="",
        description=(
            "Names that callers may give programs although such may steer what executes them; "
            "patterns as of a shell, separated by commas."
        ),
    )
    structure_sandbox: str = Field(
        default="auto",
        pattern="^(auto|bubblewrap|user|none)$",
        description=(
            "What holds the programs of structures: `bubblewrap`, `user` (root only), `none`, "
            "or `auto`: the strongest that works, never none."
        ),
    )
    structure_paths: str = Field(
        default="",
        description=(
            "Files and directories that programs in a sandbox may read beside the system and Python, "
            "separated by commas."
        ),
    )
    structure_uid: int = Field(
        default=60_600,
        gt=0,
        le=4_000_000_000,
        description="The first of the user ids that a worker of root's gives its programs.",
    )
    structure_uids: int = Field(
        default=400, gt=0, le=100_000, description="How many there are: one for each program at once."
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
    structure_output: int = Field(
        default=4_194_304,
        gt=0,
        le=67_108_864,
        description="Bytes of the output a structure run may have, and of any other event that its program "
        "reports; more output ends it, FAILED, OutputTooLarge.",
    )
    structure_home: Path | None = Field(
        default=None,
        description="A directory in which the programs of each organization have a home that stays, with "
        "their caches and packages; without it, the home of a run goes with it.",
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
    flower_forget_after: Seconds = Field(
        default=timedelta(minutes=5),
        description="How long Flower shows a worker that has not been heard of.",
    )
    flower_basic_auth: Annotated[SecretStr, AfterValidator(_credentials)] | None = Field(
        default=None, description="user:password for Flower; needed outside loopback."
    )

    @property
    def queue_of(self) -> dict[RunKind, str]:
        """The queue that new runs of a kind are sent to."""
        return {RunKind.ASSISTANT: self.queue, RunKind.STRUCTURE: self.structure_queue}

    @property
    def postgres_address(self) -> dict[str, Any]:
        """`database_url`, as parameters of psycopg.

        Raises:
            shared.addresses.AddressError: it is none of PostgreSQL.
        """
        return parse_postgres_address(self.database_url.get_secret_value())

    @property
    def redis_address(self) -> RedisAddress:
        """`redis_url` and `redis_ca`, for clients of Redis and for Celery.

        Raises:
            shared.addresses.AddressError: it is none of a Redis that we can use.
        """
        return parse_redis_address(self.redis_url.get_secret_value(), ca=self.redis_ca)

    def for_migrations(self) -> Self:
        """The same, but with `migration_database_url` for the database, if there is one.

        Raises:
            shared.addresses.AddressError: it is no address of PostgreSQL.
        """
        if not self.migration_database_url:
            return self
        url = self.migration_database_url.get_secret_value()
        parse_postgres_address(url, variable="RUNYARD_MIGRATION_DATABASE_URL")
        return self.model_copy(update={"database_url": self.migration_database_url})

    def check_addresses(self) -> None:
        """See at the start what would otherwise fail at the first connection.

        Raises:
            shared.addresses.AddressError: an address is none that can be used.
        """
        _ = self.postgres_address, self.redis_address


NOT_SETTINGS: Final = frozenset({"RUNYARD_API_KEY"})
"""What begins like a setting and is for the command line."""


def misspelt_variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that are no settings but nearly one, each with the setting that is meant.

    Others that begin alike are no concern of ours: Kubernetes makes them by the names of services.
    """
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    nearly = {name: get_close_matches(name, known, n=1, cutoff=NEARLY) for name in unknown}
    return {name: meant[0] for name, meant in nearly.items() if meant and name not in NOT_SETTINGS}


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process.

    Raises:
        pydantic.ValidationError: a variable has a value of the wrong kind, or a needed one is missing.
        shared.addresses.AddressError: an address is none that can be used.
    """
    settings = Settings()  # type: ignore[call-arg]  # the required fields come from the environment
    settings.check_addresses()
    return settings
