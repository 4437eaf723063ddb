"""The whole stack behind a pooler for transactions, and beside another installation in Redis."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import redis

from tests.support.pgbouncer import running_pgbouncer
from tests.support.stack import RUNYARD, environment, running_stack
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.full_length, pytest.mark.timeout(300)]

RUNS = 60
POOLED_CONNECTIONS = 8


def test_runs_behind_a_pooler_and_a_prefix_all_succeed(tmp_path, services):
    name = "runyard_behind_a_pooler"
    services._create(name, template="template1")
    services.postgres.ensure_roles(name)
    ours, owners = services.postgres.application_url_of(name), services.postgres.migration_url_of(name)
    redis_url = services.empty_redis()
    pooler = running_pgbouncer(tmp_path / "pgbouncer", ours, owners, connections=POOLED_CONNECTIONS)
    try:
        with pooler as pooled:
            env = environment(
                RUNYARD_DATABASE_URL=pooled.through(ours),
                RUNYARD_MIGRATION_DATABASE_URL=pooled.through(owners),
                RUNYARD_DATABASE_POOLER="transaction",
                RUNYARD_REDIS_URL=redis_url,
                RUNYARD_REDIS_PREFIX="ours:",
            )
            with running_stack(tmp_path / "stack", "--concurrency", "20", env=env) as stack:
                assistant = stack.create_assistant()
                with ThreadPoolExecutor(12) as threads:
                    runs = list(threads.map(lambda _: stack.create_run(assistant, args=["Hi"]), range(RUNS)))
                assert {stack.wait_for(run, timeout=120)["status"] for run in runs} == {"SUCCEEDED"}
                frames = list(stack.frames(runs[-1]))
                assert frames
                wait_until(
                    lambda: stack.flower("GET", f"/api/task/info/{runs[-1]}.1").status_code == 200,
                    what="Flower to know the run",
                )
                doctor = subprocess.run(
                    [RUNYARD, "doctor"], check=False, env=env, capture_output=True, text=True
                )
                assert doctor.returncode == 0, doctor.stdout + doctor.stderr
                with redis.Redis.from_url(redis_url) as client:
                    assert {key.partition(b":")[0] for key in client.scan_iter()} <= {b"ours"}
        with psycopg.connect(ours) as connection:
            lost = connection.execute("SELECT count(*) FROM runs WHERE attempt <> 1").fetchone()
            assert lost == (0,)
    finally:
        services._execute("DROP DATABASE {} WITH (FORCE)", name)
