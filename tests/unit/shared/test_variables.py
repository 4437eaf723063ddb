"""Which variables a caller may give a program."""

import pytest

from shared.structures.variables import VariableRule

STEERING = [
    "PYTHONWARNINGS",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "pythonpath",
    "LD_PRELOAD",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "LOCPATH",
    "NLSPATH",
    "MALLOC_CHECK_",
    "HOSTALIASES",
    "RES_OPTIONS",
    "BASH_ENV",
    "ENV",
    "SHELLOPTS",
    "PS4",
    "IFS",
    "PATH",
    "CDPATH",
    "PERL5LIB",
    "PERL5OPT",
    "NODE_OPTIONS",
    "NODE_PATH",
    "RUBYOPT",
    "RUBYLIB",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "BROWSER",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "MANPAGER",
    "GIT_SSH_COMMAND",
    "GIT_DIR",
    "GIT_EDITOR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "OPENSSL_CONF",
    "HTTP_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "no_proxy",
    "TMPDIR",
    "TMP",
    "TEMP",
    "HOME",
    "SHELL",
    "USER",
    "XDG_CONFIG_HOME",
    "PIP_INDEX_URL",
    "VIRTUAL_ENV",
    "PGHOST",
    "PGPASSFILE",
    "RUNYARD_DATABASE_URL",
    "GT_CLOUD_BASE_URL",
    "GT_CLOUD_STRUCTURE_RUN_ID",
    "CELERY_BROKER_URL",
    "SSLKEYLOGFILE",
    "LESSOPEN",
    "MAKEFLAGS",
    "SSH_ASKPASS",
    "DOCKER_HOST",
]
PLAIN = "A DB_PASS OPENAI_API_KEY GT_CLOUD_API_KEY WORDS_PER_SECOND my_var REGION LOG_LEVEL DEBUG x1 _x"


@pytest.mark.parametrize("name", STEERING)
def test_what_steers_an_interpreter_a_loader_or_a_shell_is_refused_and_named(name):
    reason = VariableRule().refusal(name)
    assert reason is not None
    assert name in reason


@pytest.mark.parametrize("name", PLAIN.split())
def test_a_plain_variable_of_an_application_is_taken(name):
    assert VariableRule().refusal(name) is None


@pytest.mark.parametrize("name", ["", "1A", "A B", "A=B", "A-B", "Ä", "A\n", "BASH_FUNC_x%%", "A\x00"])
def test_what_is_no_name_is_refused(name):
    assert VariableRule().refusal(name) is not None


def test_an_operator_allows_more_by_pattern_and_never_the_platforms_own():
    rule = VariableRule(allowed=("HTTPS_PROXY", "PIP_*", "RUNYARD_*"))
    assert rule.refusal("HTTPS_PROXY") is None
    assert rule.refusal("PIP_INDEX_URL") is None
    assert rule.refusal("PYTHONPATH") is not None
    assert rule.refusal("RUNYARD_DATABASE_URL") is not None


def test_a_value_with_a_nul_is_refused():
    assert VariableRule().refusal("A", "a\x00b") is not None


def test_an_address_for_which_the_operator_lends_a_key_is_not_the_callers_to_turn_away():
    assert VariableRule(lent=("OPENAI_API_KEY",)).refusal("OPENAI_BASE_URL") is not None
    assert VariableRule().refusal("OPENAI_BASE_URL") is None
