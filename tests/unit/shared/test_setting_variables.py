"""Variables that are no settings, and secrets in files."""

import os

import pytest

from shared.variables import (
    LARGEST_SECRET,
    MAX_NAMED,
    SecretFileError,
    UnknownVariableError,
    read_secret,
    unknown_variables,
)

KNOWN = ["RUNYARD_MODEL", "RUNYARD_MODELS", "RUNYARD_LEASE_TTL", "RUNYARD_API_PORT", "RUNYARD_REDIS_URL_FILE"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("RUNYARD_MODLE", "RUNYARD_MODEL"),
        ("runyard_modle", "RUNYARD_MODEL"),
        ("RUNYARD_LEASE", "RUNYARD_LEASE_TTL"),
        ("RUNYARD_MODEL_FILE", "RUNYARD_MODEL"),
        ("RUNYARD_REDIS_URL_FLIE", "RUNYARD_REDIS_URL_FILE"),
        ("RUNYARD_ZZZZ", None),
        ("RUNYARD_", None),
    ],
)
def test_an_unknown_variable_is_found_with_the_setting_it_resembles(name, nearest):
    assert unknown_variables(KNOWN, {name: "x"}) == {name: nearest}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUNYARD_MODEL", "echo"),
        ("runyard_model", "echo"),
        ("RUNYARDS", "x"),
        ("PATH", "/bin"),
        ("RUNYARD_API_KEY", "ry_key"),
        ("RUNYARD_API_URL", "http://h"),
        ("RUNYARD_IMAGE_TAG", "0.1.0"),
        ("RUNYARD_PROGRAM", "mark"),
        # What Kubernetes makes of the services `runyard`, `runyard-api` and `runyard-flower`.
        ("RUNYARD_SERVICE_HOST", "10.0.0.1"),
        ("RUNYARD_API_SERVICE_HOST", "10.0.0.1"),
        ("RUNYARD_API_SERVICE_PORT", "8000"),
        ("RUNYARD_API_SERVICE_PORT_HTTP", "8000"),
        ("RUNYARD_PORT", "tcp://10.0.0.1:8000"),
        ("RUNYARD_FLOWER_PORT", "tcp://10.0.0.1:5555"),
        ("RUNYARD_API_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("RUNYARD_API_PORT_8000_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_a_variable_with_a_meaning_is_not_unknown(name, value):
    assert unknown_variables(KNOWN, {name: value}) == {}


def test_many_unknown_variables_make_a_short_sentence():
    error = UnknownVariableError({f"RUNYARD_Z{number}": None for number in range(MAX_NAMED + 3)})
    assert str(error).count("is not a setting") == MAX_NAMED
    assert str(error).endswith("3 more are none either.")


def unusable(path):
    with pytest.raises(SecretFileError) as raised:
        read_secret("RUNYARD_X_FILE", path)
    message = str(raised.value)
    assert message.startswith(f"RUNYARD_X_FILE: {path} ")
    assert "secret" not in message.removeprefix(f"RUNYARD_X_FILE: {path}")
    return message


def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path):
    assert "cannot be read: No such file" in unusable(tmp_path / "none")
    assert "Is a directory" in unusable(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in unusable(tmp_path / "pipe")
    for name, content, reason in (
        ("large", b"secret" * LARGEST_SECRET, f"is larger than {LARGEST_SECRET} bytes"),
        ("binary", b"secret\xff", "is not text"),
        ("empty", b"\n", "is empty"),
    ):
        (tmp_path / name).write_bytes(content)
        assert reason in unusable(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_of_another_user_is_named_with_the_reason(tmp_path):
    (tmp_path / "closed").write_text("secret")
    (tmp_path / "closed").chmod(0)
    assert "cannot be read: Permission denied" in unusable(tmp_path / "closed")


def test_only_line_ends_at_the_end_are_stripped(tmp_path):
    (tmp_path / "file").write_bytes(b" first\nsecond \r\n\n")
    assert read_secret("RUNYARD_X_FILE", tmp_path / "file") == " first\nsecond "
