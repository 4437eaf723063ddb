"""Metrics: bounded labels, files of several processes, and what a scrape reads."""

import fcntl
import os
import threading
from importlib.metadata import version

import pytest
from prometheus_client.mmap_dict import mmap_key
from prometheus_client.parser import text_string_to_metric_families

from shared.metrics import definitions as metrics
from shared.metrics import instruments, numbers
from shared.metrics.instruments import LONGEST_VALUE, OTHER, Histogram, Label
from shared.processes import metrics as of_processes
from shared.processes.metrics import BURIED, OwnMetrics, SharedMetrics, count_into

KNOWN_LABELS = {
    *("action", "by", "direction", "end", "fault", "how", "kind", "outbox", "outcome", "provider"),
    *("queue", "reason", "route", "status"),
}


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    instruments.stop()


@pytest.fixture
def shared(tmp_path):
    made = SharedMetrics.make(tmp_path)
    yield made
    made.close()


def read(source):
    """The samples of a source, by name and labels."""
    families = text_string_to_metric_families(source.render().decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def forked(work):
    """Do something in a fork, and return its number. No library tidies up what it finds there."""
    if (child := os.fork()) == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def in_a_process(work):
    """Do something in a fork, and wait until it is gone."""
    child = forked(work)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return child


def test_no_label_names_a_tenant_a_run_or_an_assistant():
    for one in metrics.ALL:
        assert {label.name for label in one.labels} <= KNOWN_LABELS, one.name


def test_every_metric_has_few_label_sets():
    assert {one.name: one.bound for one in metrics.ALL if one.bound > 1200} == {}


def test_metrics_have_names_of_their_own_and_a_sentence_for_operators():
    names = [one.name for one in metrics.ALL]
    assert len(set(names)) == len(names)
    assert [one.name for one in metrics.ALL if not one.description.endswith(".")] == []


def test_a_file_has_room_for_every_label_set():
    for one in metrics.ALL:
        values = {
            label.name: max((*label.values, "v" * LONGEST_VALUE * bool(label.most)), key=len)
            for label in one.labels
        }
        bucket = {"le": "14400.0"} if isinstance(one, Histogram) else {}
        key = mmap_key(
            one.name,
            f"{one.name}_bucket",
            list(values | bucket),
            list((values | bucket).values()),
            one.description,
        )
        assert len(key) + 32 <= numbers.ENTRY_BYTES, one.name


def test_a_value_outside_its_vocabulary_is_other():
    source = OwnMetrics()
    metrics.RUNS_SUBMITTED.inc("assistant")
    metrics.RUNS_SUBMITTED.inc("robot")
    metrics.RUNS_SUBMITTED.inc("robot two")
    found = read(source)
    assert found["runyard_runs_submitted_total", "assistant"] == 1
    assert found["runyard_runs_submitted_total", OTHER] == 2


def test_values_that_come_as_they_like_are_bounded_in_memory_and_in_number():
    source = OwnMetrics()
    for number in range(1000):
        metrics.HTTP_REQUESTS.inc(f"/route/{number}", "2xx")
    name = "runyard_http_requests_total"
    found = {key: value for key, value in read(source).items() if key[0] == name and value}
    assert len(found) == metrics.ROUTE.most + 1
    assert found["runyard_http_requests_total", "2xx", OTHER] == 1000 - metrics.ROUTE.most
    assert len(metrics.HTTP_REQUESTS._sets) <= metrics.HTTP_REQUESTS.bound


def test_what_may_happen_is_shown_before_it_happens():
    found = read(OwnMetrics())
    assert found["runyard_leases_lost_total",] == 0
    assert found["runyard_reconciler_actions_total", "requeued"] == 0
    assert found["runyard_build_info", version("runyard")] == 1


def test_a_label_set_can_be_shown_before_anything_is_counted_with_it():
    source = OwnMetrics()
    metrics.QUEUE_WAIT.show("assistant", "runs")
    assert read(source)["runyard_queue_wait_seconds_count", "assistant", "runs"] == 0
    metrics.QUEUE_WAIT.observe(1, "assistant", "runs")
    metrics.QUEUE_WAIT.show("assistant", "runs")
    assert read(source)["runyard_queue_wait_seconds_count", "assistant", "runs"] == 1


def test_a_name_of_a_queue_that_has_no_room_in_a_file_is_other(shared):
    count_into(shared.directory)
    long = "é" * (LONGEST_VALUE // 2)
    for queue in (long, long + "q"):
        metrics.QUEUE_WAIT.observe(1, "assistant", queue)
    found = read(shared)
    for queue in (long, OTHER):
        assert found["runyard_queue_wait_seconds_count", *sorted(("assistant", queue))] == 1


def test_nothing_is_counted_before_the_start_or_after_the_end():
    source = OwnMetrics()
    instruments.stop()
    metrics.LEASES_LOST.inc()
    metrics.SLOTS.set(7)
    metrics.FLUSH_SECONDS.observe(1, "alone")
    found = read(source)
    assert (found["runyard_leases_lost_total",], found["runyard_slots",]) == (0, 0)


def test_a_clock_that_goes_back_does_not_make_a_sum_fall():
    source = OwnMetrics()
    metrics.QUEUE_WAIT.observe(-5, "assistant", "runs")
    found = read(source)
    assert found["runyard_queue_wait_seconds_sum", "assistant", "runs"] == 0
    assert found["runyard_queue_wait_seconds_count", "assistant", "runs"] == 1


def test_processes_and_their_forks_are_added_up(shared):
    count_into(shared.directory)
    metrics.LEASES_LOST.inc()
    metrics.SLOTS.set(10)
    end, held = os.pipe()

    def work():
        os.close(held)
        metrics.LEASES_LOST.inc(by=2)
        metrics.SLOTS.set(5)
        metrics.QUEUE_WAIT.observe(0.3, "assistant", "runs")
        os.read(end, 1)

    child = forked(work)
    try:
        while read(shared).get(("runyard_queue_wait_seconds_count", "assistant", "runs")) != 1:
            assert os.waitpid(child, os.WNOHANG) == (0, 0), "it has ended"
        found = read(shared)
        assert found["runyard_leases_lost_total",] == 3
        assert found["runyard_slots",] == 15
    finally:
        os.close(held)
        os.waitpid(child, 0)
        os.close(end)


def test_the_numbers_of_dead_processes_stay_and_their_files_and_gauges_do_not(shared):
    count_into(shared.directory)
    metrics.SLOTS.set(10)
    metrics.QUEUE_WAIT.show("assistant", "runs")

    def work():
        metrics.LEASES_LOST.inc()
        metrics.SLOTS.set(5)
        metrics.QUEUE_WAIT.observe(0.3, "assistant", "runs")

    for deaths in range(1, 4):
        pid = in_a_process(work)
        found = read(shared)
        assert found["runyard_leases_lost_total",] == deaths
        assert found["runyard_queue_wait_seconds_count", "assistant", "runs"] == deaths
        assert found["runyard_queue_wait_seconds_bucket", "0.25", "assistant", "runs"] == 0
        assert found["runyard_queue_wait_seconds_bucket", "0.5", "assistant", "runs"] == deaths
        assert found["runyard_slots",] == 10
        assert [path for path in shared.directory.iterdir() if f"_{pid}." in path.name] == []
    assert {path.name for path in shared.directory.glob(f"*_{BURIED}.db")} == {
        f"counter_{BURIED}.db",
        f"histogram_{BURIED}.db",
    }


def test_a_file_that_was_left_half_written_costs_only_itself(shared):
    count_into(shared.directory)
    metrics.LEASES_LOST.inc()
    pid = in_a_process(lambda: None)
    (shared.directory / f"counter_{pid}.db").write_bytes(b"\x00\x10\x00\x00" + b"\xff" * 60)
    assert read(shared)["runyard_leases_lost_total",] == 1
    assert not (shared.directory / f"counter_{pid}.db").exists()


def test_files_have_their_size_from_the_start_so_that_a_full_disk_kills_nobody(shared):
    count_into(shared.directory)
    before = {path.name: path.stat().st_size for path in shared.directory.glob("*.db")}
    for number in range(1000):
        metrics.HTTP_SECONDS.observe(1, f"/a/rather/long/path/of/some/resource/{number}")
        metrics.HTTP_REQUESTS.inc(f"/a/rather/long/path/of/some/resource/{number}", "2xx")
    assert {path.name: path.stat().st_size for path in shared.directory.glob("*.db")} == before
    assert all(path.stat().st_blocks * 512 >= path.stat().st_size for path in shared.directory.glob("*.db"))


def test_a_scrape_that_stands_still_keeps_no_supervisor_waiting(shared):
    count_into(shared.directory)
    in_a_process(metrics.LEASES_LOST.inc)
    with shared._locked(fcntl.LOCK_SH):  # as a reader has it that was stopped
        shared.bury()
    assert read(shared)["runyard_leases_lost_total",] == 1
    assert len(list(shared.directory.glob("counter_*.db"))) == 2  # this process' and that of the dead


def test_a_number_below_0_does_not_end_a_run():
    source = OwnMetrics()
    metrics.TOKENS.inc("openai", "input", by=-5)
    assert read(source)["runyard_tokens_total", "input", "openai"] == 0


def test_without_room_for_files_a_process_goes_on_without_metrics(shared, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numbers, "allocate", full)
    count_into(shared.directory)
    metrics.LEASES_LOST.inc()
    assert not instruments.is_on()


def test_without_room_for_its_files_a_fork_goes_on_without_metrics(shared, monkeypatch):
    count_into(shared.directory)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numbers, "allocate", full)

    def work():
        metrics.LEASES_LOST.inc()
        assert not instruments.is_on()

    in_a_process(work)
    assert read(shared)["runyard_leases_lost_total",] == 0


def test_a_process_with_the_id_of_a_dead_one_goes_on_in_its_files(shared):
    for number in range(1, 4):
        count_into(shared.directory)
        metrics.LEASES_LOST.inc()
        metrics.HTTP_SECONDS.observe(0.3, f"/route/{number}")
        metrics.HTTP_SECONDS.observe(0.3, "/route/0")
        found = read(shared)
        assert found["runyard_leases_lost_total",] == number
        assert found["runyard_http_request_seconds_count", "/route/0"] == number
        assert found["runyard_http_request_seconds_count", f"/route/{number}"] == 1


def test_files_and_memory_show_the_same(shared):
    def count():
        metrics.SLOTS.set(3)
        metrics.TOKENS.inc("openai", "input", by=7)
        for value in (0.0, 0.005, 0.0051, 11.0):
            metrics.FLUSH_SECONDS.observe(value, "alone")

    count_into(shared.directory)
    count()
    in_files = read(shared)
    source = OwnMetrics()
    count()
    assert read(source) == in_files
    assert in_files["runyard_flush_seconds_bucket", "0.005", "alone"] == 2
    assert in_files["runyard_flush_seconds_bucket", "+Inf", "alone"] == 4


def test_a_fork_never_inherits_a_lock_that_is_taken(shared):
    count_into(shared.directory)
    stop = threading.Event()

    def count():
        while not stop.is_set():
            metrics.FLUSH_SECONDS.observe(0.1, "together")

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            in_a_process(metrics.LEASES_LOST.inc)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert read(shared)["runyard_leases_lost_total",] == 10


def test_the_directory_is_this_users_alone_and_goes_with_its_owner(tmp_path):
    made = SharedMetrics.make(tmp_path)
    assert made.directory.stat().st_mode & 0o777 == 0o700
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_files_are_in_memory_where_there_is_room_and_else_in_the_temporary_directory(tmp_path, monkeypatch):
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    memory.mkdir()
    disk.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    monkeypatch.setattr(of_processes, "MEMORY", memory)
    for room, parent in ((0, memory), (2**60, disk)):
        monkeypatch.setattr(of_processes, "ROOM", room)
        made = SharedMetrics.make()
        assert made.directory.parent == parent
        made.close()
    monkeypatch.setattr(of_processes, "MEMORY", tmp_path / "nowhere")
    made = SharedMetrics.make()
    assert made.directory.parent == disk
    made.close()


def test_directories_of_owners_that_were_killed_are_removed_and_others_are_not(shared, tmp_path):
    def be_killed():
        SharedMetrics.make(tmp_path)
        os._exit(0)

    in_a_process(be_killed)
    assert len(list(tmp_path.iterdir())) == 2
    other = SharedMetrics.make(tmp_path)
    assert set(tmp_path.iterdir()) == {shared.directory, other.directory}
    other.close()


def test_the_directory_of_a_process_from_before_an_upgrade_stays(tmp_path):
    earlier = tmp_path / "runyard-metrics-x"
    earlier.mkdir()
    SharedMetrics.make(tmp_path).close()
    assert earlier.is_dir()


def test_an_unlimited_label_is_still_limited():
    assert Label("queue", ("runs",), most=3).bound == 5
