"""How the addresses of PostgreSQL and Redis are read, and which are refused."""

import re
from types import SimpleNamespace

import pytest
from kombu import Connection
from redis.connection import parse_url

from shared.addresses.base import AddressError
from shared.addresses.postgres import parse_postgres_address
from shared.addresses.redis import parse_redis_address
from shared.celery_app import configuration
from shared.settings import Settings

SECRET = "se/c:r@t+ü%"
ENCODED = "se%2Fc%3Ar%40t+%C3%BC%25"


def broker_parameters(url, **settings):
    """How Celery connects: the parameters that it gives redis-py."""
    given = Settings.model_validate({"database_url": "postgresql://h/d", "redis_url": url, **settings})
    configured = configuration(given)
    connection = Connection(configured["broker_url"], ssl=configured["broker_use_ssl"])
    channel = object.__new__(connection.transport.Channel)  # a real one would connect at once
    channel.connection = SimpleNamespace(client=connection, default_port=6379)
    return channel._connparams()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {"host": "h", "port": 6379, "db": 0}),
        ("redis://", {"host": "localhost", "port": 6379, "db": 0}),
        ("redis://h:7/3", {"host": "h", "port": 7, "db": 3}),
        ("redis://h:7/3?db=4", {"host": "h", "port": 7, "db": 4}),
        ("redis://[::1]:7/3", {"host": "::1", "port": 7, "db": 3}),
        (f"redis://:{ENCODED}@h:7", {"host": "h", "port": 7, "db": 0, "password": SECRET}),
        (f"redis://me:{ENCODED}@h", {"username": "me", "password": SECRET, "host": "h"}),
        (f"rediss://h?username=me&password={ENCODED}", {"username": "me", "host": "h"}),
        ("unix:///run/redis/r.sock", {"path": "/run/redis/r.sock", "db": 0}),
        ("unix:///run/a%20b.sock?db=5", {"path": "/run/a b.sock", "db": 5}),
        (f"unix://:{ENCODED}@/run/r.sock?db=5", {"path": "/run/r.sock", "db": 5, "password": SECRET}),
        ("redis+socket:///run/r.sock?virtual_host=5", {"path": "/run/r.sock", "db": 5}),
    ],
)
def test_pub_sub_and_the_broker_read_an_address_of_redis_alike(url, expected):
    read = parse_url(parse_redis_address(url).url)
    assert {name: read.get(name) for name in expected} == expected
    told = broker_parameters(url)
    assert {name: told.get(name) for name in expected} == expected


def test_the_broker_verifies_a_server_behind_tls_as_pub_sub_does(tmp_path):
    ca = tmp_path / "ca.pem"
    ca.touch()
    trusted = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": str(ca)}
    assert parse_redis_address("rediss://h", ca=ca).tls == trusted
    told = broker_parameters("rediss://h", redis_ca=ca)
    assert {name: told[name] for name in trusted} == trusted
    assert broker_parameters("rediss://h")["ssl_cert_reqs"] == "required"


def test_who_wants_a_server_unverified_has_to_say_so():
    tls = parse_redis_address("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=False").tls
    assert tls == {"ssl_cert_reqs": "none", "ssl_check_hostname": False}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "not set"),
        ("nonsense", "not an address of Redis"),
        ("http://h", "not an address of Redis"),
        ("redis://h:se/cret", "not an address of Redis"),
        ("redis://:se#cret@h", "not an address of Redis"),
        ("redis://[::1", "not an address of Redis"),
        ("redis://a:1,b:2/0", "not an address of Redis"),
        ("redis://a;redis://b", "not an address of Redis"),
        ("unix://", "not an address of Redis"),
        ("redis://h/words", "are numbers"),
        ("redis://h?db=-1", "are numbers"),
        ("redis://h?socket_timeout=3", "'socket_timeout'"),
        ("redis://h?ssl_cert_reqs=none", "for rediss://"),
        ("rediss://h?ssl_cert_reqs=perhaps", "required, optional, none"),
        ("rediss://h?ssl_check_hostname=2", "true or false"),
        ("sentinel://a:26379;sentinel://b:26379", "Sentinel"),
        ("redis+sentinel://a:26379/mymaster/0", "Sentinel"),
        ("redis+cluster://h", "Cluster"),
    ],
)
def test_an_address_that_no_client_can_use_is_refused_in_one_sentence(url, words):
    with pytest.raises(AddressError, match=re.escape(words)) as refused:
        parse_redis_address(url)
    assert "RUNYARD_REDIS_URL" in refused.value.message
    assert "\n" not in refused.value.message
    assert "cret" not in refused.value.message


def test_certificates_without_tls_are_refused(tmp_path):
    with pytest.raises(AddressError, match="RUNYARD_REDIS_CA"):
        parse_redis_address("redis://h", ca=tmp_path)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h:7/d", {"user": "u", "password": "p", "host": "h", "port": "7", "dbname": "d"}),
        ("postgres://h/d", {"host": "h", "dbname": "d"}),
        ("postgresql+psycopg://h/d", {"host": "h", "dbname": "d"}),
        (f"postgresql://u:{ENCODED}@h/d", {"user": "u", "password": SECRET, "host": "h", "dbname": "d"}),
        ("postgresql://u:a@b:c@h/d", {"user": "u", "password": "a@b:c", "host": "h", "dbname": "d"}),
        (
            "postgresql://h/d?application_name=me@here",
            {"host": "h", "dbname": "d", "application_name": "me@here"},
        ),
        ("postgresql://u@/d?host=/run/pg", {"user": "u", "host": "/run/pg", "dbname": "d"}),
        ("postgresql://%2Frun%2Fpg/d", {"host": "/run/pg", "dbname": "d"}),
        ("postgresql://[::1]:7/d", {"host": "::1", "port": "7", "dbname": "d"}),
        ("postgresql://a:1,b:2/d", {"host": "a,b", "port": "1,2", "dbname": "d"}),
        ("postgresql://a,b/d", {"host": "a,b", "port": ",", "dbname": "d"}),
        ("postgresql:///d?host=a:1&host=b:2", {"host": "a,b", "port": "1,2", "dbname": "d"}),
        ("postgresql:///d?host=a,b&port=1,2", {"host": "a,b", "port": "1,2", "dbname": "d"}),
        ("postgresql:///d?host=[::1]:7&host=::2", {"host": "::1,::2", "port": "7,", "dbname": "d"}),
        (
            "postgresql://a,b/d?target_session_attrs=read-write&sslmode=require",
            {
                "host": "a,b",
                "port": ",",
                "dbname": "d",
                "target_session_attrs": "read-write",
                "sslmode": "require",
            },
        ),
        (
            "postgresql://h/d?options=-c%20search_path%3Dours",
            {"host": "h", "dbname": "d", "options": "-c search_path=ours"},
        ),
        ("postgresql://h/d?prepare_threshold=3", {"host": "h", "dbname": "d", "prepare_threshold": 3}),
        ("postgresql://h/d?prepare_threshold=none", {"host": "h", "dbname": "d", "prepare_threshold": None}),
    ],
)
def test_an_address_of_postgresql_says_whatever_libpq_can_do(url, expected):
    assert parse_postgres_address(url) == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "not set"),
        ("nonsense", "not an address of PostgreSQL"),
        ("mysql://h/d", "not an address of PostgreSQL"),
        ("postgresql+asyncpg://h/d", "not an address of PostgreSQL"),
        ("postgresql://u:se/cret@h/d", "not an address of PostgreSQL"),
        ("postgresql://u:p@h:0/d", "not an address of PostgreSQL"),
        ("postgresql://u:p@h:70000/d", "not an address of PostgreSQL"),
        ("postgresql://[::1/d", "not an address of PostgreSQL"),
        ("postgresql://h/d%zz", "not an address of PostgreSQL"),
        ("postgresql://h/d?pool_size=3", "'pool_size'"),
        ("postgresql://h/d?autocommit=true", "'autocommit'"),
        ("postgresql://h/d?prepare_threshold=often", "neither a number nor none"),
    ],
)
def test_an_address_that_libpq_cannot_read_is_refused_in_one_sentence(url, words):
    with pytest.raises(AddressError, match=re.escape(words)) as refused:
        parse_postgres_address(url)
    assert "RUNYARD_DATABASE_URL" in refused.value.message
    assert "\n" not in refused.value.message
    assert "cret" not in refused.value.message


def test_wrong_settings_do_not_quote_what_was_given():
    with pytest.raises(ValueError, match="redis_prefix") as refused:
        Settings.model_validate(
            {"database_url": "postgresql://h/d", "redis_url": "redis://h", "redis_prefix": "se cret"}
        )
    assert "cret" not in str(refused.value)
