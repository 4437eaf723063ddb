"""The rule of variables: what an application may be told, and what steers what executes it."""

import pytest

from shared.structures.variables import VariableRule

RULE = VariableRule()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "A",
            "MY_VAR",
            "my_var",
            "REGION",
            "DB_PASS",
            "PEM",
            "WORDS_PER_SECOND",
            "DATABASE_URL",
            "API_BASE",
        ),
        *("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"),
        *(
            "AWS_ACCESS_KEY_ID",
            "AWS_DEFAULT_REGION",
            "SLACK_TOKEN",
            "PIPELINE_ID",
            "LESSON",
            "MANAGER",
            "GOAL",
        ),
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TOKENIZERS_PARALLELISM", "SNAPSHOT", "MODULE_NAME"),
        *("GT_CLOUD_API_KEY", "GT_CLOUD_THREAD_ID", "GT_CLOUD_BUCKET_ID", "BATCHED", "OBSERVED", "TZ"),
        *("ZIP_CODE", "STRIPE_SANDBOX", "PROJECT_ID", "PROXIED", "INTELLIGENCE"),
    ],
)
def test_a_plain_variable_of_an_application_is_taken(name):
    assert RULE.refusal(name, "value") is None


STEERING = [
    *("VIMINIT", "GVIMINIT", "exinit", "ZIPOPT", "UNZIP", "GZIP", "XZ_DEFAULTS", "GCC_EXEC_PREFIX"),
    *("OMP_TOOL_LIBRARIES", "INTEL_LIBITTNOTIFY64", "PYSPARK_PYTHON", "DASK_DISTRIBUTED__WORKER__PRELOAD"),
    *("VIRTUALENVWRAPPER_PYTHON", "MY_INTERPRETER", "PROXY", "SOCKS_SERVER", "UCX_MODULES"),
    *("PYTHONWARNINGS", "PYTHONSTARTUP", "PYTHONPATH", "PYTHONHOME", "PYTHONINSPECT", "PYTHONBREAKPOINT"),
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "GCONV_PATH", "GLIBC_TUNABLES"),
    *("MALLOC_CHECK_", "LOCPATH", "NLSPATH", "HOSTALIASES", "RES_OPTIONS", "LOCALDOMAIN", "BASH_ENV", "ENV"),
    *("BASH_FUNC_ls", "SHELLOPTS", "BASHOPTS", "PS4", "PERL5OPT", "PERL5LIB", "PERLLIB", "NODE_OPTIONS"),
    *("NODE_PATH", "RUBYOPT", "RUBYLIB", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "BROWSER"),
    *("EDITOR", "VISUAL", "PAGER", "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "SSL_CERT_FILE", "SSLKEYLOGFILE"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CURL_HOME", "OPENSSL_CONF", "HTTP_PROXY", "https_proxy"),
    *(
        "ALL_PROXY",
        "no_proxy",
        "PATH",
        "IFS",
        "HOME",
        "SHELL",
        "USER",
        "TMPDIR",
        "TMP",
        "TEMP",
        "XDG_CONFIG_HOME",
    ),
    *("PIP_INDEX_URL", "UV_INDEX", "VIRTUAL_ENV", "CONDA_PREFIX", "PGHOST", "PGSERVICEFILE", "REDIS_URL"),
    *(
        "CELERY_BROKER_URL",
        "RUNYARD_DATABASE_URL",
        "GT_CLOUD_BASE_URL",
        "GT_CLOUD_STRUCTURE_RUN_ID",
        "CDPATH",
    ),
    *("CLASSPATH", "LUA_INIT", "PHPRC", "GOFLAGS", "CARGO_HOME", "MAKEFLAGS", "KUBECONFIG", "DOCKER_HOST"),
    *(
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "NETRC",
        "KRB5_CONFIG",
    ),
    *("DJANGO_SETTINGS_MODULE", "ANYTHING_PRELOAD", "ANYTHING_OPTIONS", "ANYTHING_PROXY", "ANYTHING_PATH"),
]


@pytest.mark.parametrize("name", STEERING)
@pytest.mark.parametrize("spelt", [str, str.lower, str.title], ids=["as is", "lower", "title"])
def test_one_that_steers_what_executes_programs_is_refused_by_name_in_whatever_case(name, spelt):
    refusal = RULE.refusal(spelt(name))
    assert refusal is not None
    assert spelt(name) in refusal


@pytest.mark.parametrize("name", ["", "A=B", "1A", "A B", "A-B", "BASH_FUNC_a%%", "É", "A\n", "A\0"])
def test_what_is_no_name_is_refused(name):
    assert RULE.refusal(name)


def test_a_value_with_a_nul_is_refused():
    assert RULE.refusal("A", "a\0b")


def test_an_operator_opens_names_by_patterns_as_they_are_written_but_not_the_platforms_own():
    rule = VariableRule(allowed=("HTTP_*", "PYTHONHASHSEED", "*"))
    assert VariableRule(allowed=("HTTP_*",)).refusal("http_proxy")
    assert rule.refusal("HTTP_PROXY") is None
    assert rule.refusal("RUNYARD_DATABASE_URL")
    assert rule.refusal("GT_CLOUD_BASE_URL")


def test_the_address_of_a_service_whose_key_the_operator_lends_is_not_a_callers_to_say():
    rule = VariableRule(lent=("OPENAI_API_KEY",))
    assert "operator's own key" in (rule.refusal("OPENAI_BASE_URL") or "")
    assert rule.refusal("OPENAI_API_KEY") is None
    assert rule.refusal("ANTHROPIC_BASE_URL") is None
