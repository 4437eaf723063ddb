"""What a process logs: the form of its lines, their levels, and what they hide."""

import json
import subprocess
import sys
import textwrap
import uuid

import pytest

URLS = {
    "RUNYARD_DATABASE_URL": "postgresql://runyard:data%2Fbase-word@db/runyard",
    "RUNYARD_REDIS_URL": "redis://:redis-word@redis/0",
    "RUNYARD_FLOWER_BASIC_AUTH": "ops:flower-word,dev:other-word",
}
KEY = "ry_" + "k" * 49

HEAD = """
import logging, os, sys, threading, uuid, warnings
import structlog
from shared.logs import about_run, configure_logging, flush_logs, log_uncaught, tell_of_run
from shared.settings import get_settings
configure_logging(get_settings(), process="api", number=2)
log_uncaught()
log = structlog.get_logger("worker.attempt.execution")
"""


def lines_of(code, *, code_expected=0, **settings):
    """What a process that executes `code` logs."""
    command = [sys.executable, "-P", "-c", HEAD + textwrap.dedent(code)]
    done = subprocess.run(
        command, env={**URLS, **settings}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code_expected, done.stderr
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_lines_of_libraries_have_the_form_of_ours_and_all_tell_of_the_run():
    run = "11111111-1111-1111-1111-111111111111"
    lines = lines_of(f"""
        run, organization = uuid.UUID("{run}"), uuid.UUID(int=7)
        with about_run(run, 3, task_id="t"):
            tell_of_run(organization_id=organization, trace_id="ab" * 16)
            log.info("ours", field=1)
            logging.getLogger("uvicorn.error").warning("of %s", "uvicorn")
            logging.getLogger("celery.worker").error("of celery", extra={{"more": 2}})
            logging.getLogger("sqlalchemy.pool").error("of sqlalchemy")
        log.info("after")
    """)
    assert [line["event"] for line in lines] == ["ours", "of uvicorn", "of celery", "of sqlalchemy", "after"]
    for line in lines:
        assert {"event", "level", "logger", "timestamp", "process", "number", "pid"} <= line.keys()
        assert (line["process"], line["number"]) == ("api", 2)
    about = {
        "run_id": run,
        "attempt": 3,
        "task_id": "t",
        "organization_id": str(uuid.UUID(int=7)),
    }
    assert all(about.items() <= line.items() for line in lines[:-1])
    assert not about.keys() & lines[-1].keys()
    assert (lines[0]["field"], lines[2]["more"]) == (1, 2)


def test_modules_have_levels_of_their_own_and_libraries_keep_their_floors():
    lines = lines_of(
        """
        log.debug("ours below")
        structlog.get_logger("worker.process").debug("not this one")
        for name in ("celery.worker.strategy", "sqlalchemy.engine.Engine", "openai._base_client", "griptape"):
            logging.getLogger(name).debug("debug of %s", name)
            logging.getLogger(name).info("info of %s", name)
        logging.getLogger("api").warning("not so important")
        """,
        RUNYARD_LOG_LEVELS="worker.attempt=debug,celery.worker.strategy=debug,sqlalchemy=debug,api=error",
    )
    assert [line["event"] for line in lines] == [
        "ours below",
        "debug of celery.worker.strategy",
        "info of celery.worker.strategy",
        "info of sqlalchemy.engine.Engine",
    ]


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_no_statement_is_logged_unless_somebody_asks_for_them(level):
    lines = lines_of(
        """
        from sqlalchemy import create_engine, text
        with create_engine("sqlite://").connect() as connection:
            connection.execute(text("SELECT 1"))
        """,
        RUNYARD_LOG_LEVEL=level,
    )
    assert lines == []


def test_a_level_for_all_lowers_no_floor():
    lines = lines_of(
        """
        for name in ("httpcore.http11", "kombu", "openai", "botocore.endpoint", "griptape"):
            logging.getLogger(name).debug("of %s", name)
        """,
        RUNYARD_LOG_LEVEL="DEBUG",
    )
    assert [line["event"] for line in lines] == ["of kombu"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_passwords_and_keys_of_callers_appear_in_no_line(log_format):
    command = [
        sys.executable,
        "-P",
        "-c",
        HEAD
        + textwrap.dedent(f"""
        log.info("GET /api/{KEY}", url=os.environ["RUNYARD_DATABASE_URL"])
        logging.getLogger("lib").error("user %s", {{"password": "data/base-word"}})
        try:
            raise ValueError("redis-word of redis, flower-word and other-word, {KEY}")
        except ValueError:
            log.exception("it broke")
        threading.Thread(target=lambda: [][0], name="{KEY}").start()
        warnings.warn("redis-word")
        raise RuntimeError("redis-word")
        """),
    ]
    env = {**URLS, "RUNYARD_LOG_FORMAT": log_format}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    for secret in ("base-word", "redis-word", "flower-word", "other-word", KEY):
        assert secret not in done.stderr
    assert done.stderr.count("[API key]") >= 3
    assert "[RUNYARD_REDIS_URL]" in done.stderr
    assert "thread ends by an exception" in done.stderr
    assert "process ends by an exception" in done.stderr


def test_a_line_that_cannot_be_made_tells_nothing_of_its_arguments():
    (line,) = lines_of('logging.getLogger("lib").error("%d of them", "planted")')
    assert (line["event"], line["of"], line["error_type"]) == ("log line not made", "lib", "TypeError")
    assert "planted" not in json.dumps(line)


def test_a_forked_child_logs_and_so_does_its_parent():
    lines = lines_of("""
        log.info("before")
        child = os.fork()
        log.info("child" if child == 0 else "parent")
        if child == 0:
            flush_logs()
            os._exit(0)
        os.waitpid(child, 0)
    """)
    assert sorted(line["event"] for line in lines) == ["before", "child", "parent"]
    assert len({line["pid"] for line in lines}) == 2
