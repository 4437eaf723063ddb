"""Environment variables that a caller may set for a program: those of applications, none of runtimes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Self

from shared.models import JsonObject
from shared.setting_types import names_of
from shared.settings import Settings

SETTING: Final = "RUNYARD_STRUCTURE_ENV_ALLOWED"

_SHAPE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

_FROM_CLIENTS: Final = frozenset(
    {"GT_CLOUD_API_KEY", "GT_CLOUD_THREAD_ID", "GT_CLOUD_BUCKET_ID", "GT_CLOUD_ORGANIZATION_ID"}
)
"""Variables that clients of the platform set for their programs."""

_OURS: Final = ("RUNYARD_*", "GT_CLOUD_*")
"""Variables that only the platform sets; no operator's pattern allows these."""

_KINDS: Final = (
    # Where something is looked for or kept, whatever its name.
    "*PATH",
    "*_HOME",
    "*DIR",
    "*_DIRS",
    # What something is started with, or reads when it starts.
    "*_OPTIONS",
    "*OPTS",
    "*_OPT",
    "*_FLAGS",
    "*_STARTUP",
    "*_CONFIG",
    "*_CONFIG_FILE",
    "*_CONF",
    "*_CNF",
    "*_RC",
    "*_INIT",
    "*_PRELOAD",
    "*_AUDIT",
    # What is loaded into it, or executed for it.
    "*_MODULE",
    "*_MODULES",
    "*_PLUGIN",
    "*_PLUGINS",
    "*_HOOK",
    "*_HOOKS",
    "*_LIBRARY",
    "*_LIBRARIES",
    "*_PYTHON",
    "*_INTERPRETER",
    "*_COMMAND",
    "*_CMD",
    "*_EXECUTABLE",
    "*_EXECUTABLES",
    "*_SHELL",
    "*_EDITOR",
    "*_PAGER",
    "*_BROWSER",
    "*_ASKPASS",
    "*_WRAPPER",
    "*_LAUNCHER",
    # Whom it trusts, and through whom it talks.
    "*_PROXY",
    "*_CA_BUNDLE",
    "*_CA_CERT*",
    "*_CERT_FILE",
    "*_CERT_DIR",
    "*_CERTS",
    "*KEYLOGFILE",
)
"""Patterns of names that steer the program that reads them, whichever it is."""

_FAMILIES: Final = (
    # Interpreters, and what debugs and profiles them.
    *("PYTHON*", "PY_*", "PYENV*", "PYTEST*", "PYDEVD*", "IPYTHON*", "JUPYTER*", "COVERAGE_*", "CYTHON_*"),
    *("PERL*", "NODE", "NODE_*", "NPM_*", "NPMRC", "YARN_*", "DENO_*", "BUN_*", "RUBY*", "GEM_*", "BUNDLE_*"),
    *("RAILS_*", "JAVA*", "JDK_*", "_JAVA*", "JVM_*", "MAVEN_*", "GRADLE_*", "KOTLIN_*", "SCALA_*"),
    *("DOTNET_*", "CORECLR_*", "COMPLUS_*", "MONO_*", "LUA*", "PHP*", "TCL*", "JULIA_*", "ERL_*", "ELIXIR_*"),
    *("GOFLAGS", "GODEBUG", "GOENV", "GOROOT", "GOPROXY", "CARGO_*", "RUST*", "GUILE_*", "GHC*"),
    *("R_LIBS*", "R_PROFILE*", "R_ENVIRON*", "R_DEFAULT_*", "NUMBA_*", "CFFI_*", "OTEL_PYTHON_*"),
    # Loaders and the C library.
    *("LD_*", "LDR_*", "DYLD_*", "_RLD*", "SHLIB_*", "GCONV_*", "GLIBC_*", "MALLOC", "MALLOC_*", "MEMKIND_*"),
    *("JEMALLOC_*", "_RJEM_*", "TCMALLOC_*", "LOCALDOMAIN", "HOSTALIASES", "RES_OPTIONS", "RESOLV_*"),
    *("GETCONF_*", "DATEMSK", "NSS_*", "NSSWITCH*", "OUTPUT_CHARSET", "POSIX*", "_", "__*"),
    *("ASAN_*", "LSAN_*", "MSAN_*", "TSAN_*", "UBSAN_*", "GCOV_*", "LLVM_*", "SCUDO_*"),
    # Shells, and who one is to them.
    *("BASH*", "ENV", "SH_*", "ZSH*", "KSH*", "FISH_*", "SHELL", "SHELLOPTS", "SHLVL", "IFS", "PS?"),
    *("PROMPT_*", "FCEDIT", "INPUTRC", "HISTFILE", "GLOBIGNORE", "OPTERR", "OPTIND", "COMSPEC", "SYSTEMROOT"),
    *("HOME", "USER", "USERNAME", "LOGNAME", "MAIL", "PWD", "OLDPWD", "UID", "EUID", "SUDO_*", "TERM*"),
    *("TMP", "TEMP", "XDG_*", "DBUS_*", "SYSTEMD_*", "NOTIFY_*", "LISTEN_*", "DISPLAY", "WAYLAND_*"),
    *("XAUTHORITY",),
    # What programs start for people, and with them.
    *("BROWSER", "EDITOR", "VISUAL", "PAGER", "LESS", "LESSOPEN", "LESSCLOSE", "LESSKEY*", "MANPAGER"),
    *("*VIMINIT", "EXINIT", "EMACS*", "SCREENRC", "TMUX*", "MAILRC", "MANOPT", "GROFF_*", "TEXMF*"),
    *("ZIP", "ZIPOPT", "UNZIP*", "GZIP", "BZIP*", "XZ_*", "ZSTD_*"),  # options of those programs
    *("GREP_*", "TAR_*", "MAKE", "MAKEFLAGS", "MAKEFILES", "MFLAGS", "GIT", "GIT_*", "SSH_*", "RSYNC_*"),
    *("CVS_*", "SVN_*", "HGRCPATH", "GPG_*", "GNUPG*", "CC", "CXX", "CPP", "AR", "AS", "CFLAGS", "CXXFLAGS"),
    *("GCC_*", "COLLECT_*", "CCACHE_*", "DISTCC_*"),
    *("CPPFLAGS", "LDFLAGS", "DISTUTILS*", "SETUPTOOLS*", "CMAKE_*"),
    # Whom libraries trust, and through whom they talk.
    *(
        "PROXY",
        "SOCKS*",
        "SSL*",
        "REQUESTS_*",
        "CURL_*",
        "OPENSSL_*",
        "GNUTLS_*",
        "KRB5*",
        "SASL_*",
        "LDAPCONF",
        "LDAPRC",
    ),
    *("LDAPTLS*", "WGETRC", "NETRC", "GRPC_*", "CERTIFI*", "AWS_PROFILE", "AWS_SHARED_*", "BOTO*"),
    *("GOOGLE_APPLICATION_*", "GOOGLE_EXTERNAL_*", "CLOUDSDK_*", "KUBE*", "DOCKER_*"),
    # Databases, queues, servers.
    *("PG*", "MYSQL_*", "MARIADB_*", "LIBMYSQL_*", "REDIS*", "CELERY*", "FLOWER_*", "KOMBU_*", "AMQP_*"),
    *("UVICORN_*", "GUNICORN_*", "SQLALCHEMY_*", "ALEMBIC_*", "ODBC*", "TNS_*", "ORA_*", "FLASK_*"),
    # Packages and environments.
    *("PIP_*", "UV", "UV_*", "VIRTUAL_ENV*", "CONDA*", "_CONDA*", "MAMBA_*", "POETRY_*", "PDM_*", "PIPX_*"),
    *("HATCH_*", "TOX_*", "NIX_*", "SNAP", "SNAP_*", "FLATPAK_*", "BWRAP_*", "MODULESHOME", "LMOD_*"),
    # Libraries that load what a variable names.
    *("GTK*", "GIO_*", "GI_*", "GDK_*", "GST_*", "G_DEBUG", "G_SLICE", "QT_*", "QML*", "MAGICK_*"),
    *("MATPLOTLIB*", "MPL*", "LIBGL_*", "MESA_*", "VK_*", "OCL_*", "OPENCL_*", "SDL_*", "ALSA_*"),
    *("LADSPA_*", "FONTCONFIG_*", "INTEL_LIBITTNOTIFY*", "OMP_TOOL*", "OMPI_*", "PMIX_*", "UCX_*"),
    *("GDAL_*", "PROJ_*", "SPARK_*", "PYSPARK_*", "HADOOP_*", "DASK_*", "RAY_*", "VIRTUALENVWRAPPER_*"),
)
"""Patterns of names that interpreters, loaders, shells and libraries read."""


_ADDRESSES: Final = ("*_URL", "*_URI", "*_BASE", "*_ENDPOINT*", "*_HOST", "*_HOSTNAME", "*_ADDRESS", "*_PORT")


@dataclass(frozen=True, slots=True)
class VariableRule:
    """Decides whether a caller may set a variable for a program.

    A name of an application is allowed, in any case. A name that steers an interpreter, a loader, a shell or
    a library is refused, unless an operator's pattern matches the name as given.
    """

    allowed: tuple[str, ...] = ()  # patterns as of a shell
    lent: tuple[str, ...] = ()  # the names of the operator's variables for programs: they may hold keys

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(tuple(names_of(settings.structure_env_allowed)), tuple(names_of(settings.structure_env)))

    def refusal(self, name: str, value: str = "") -> str | None:
        """Why a variable is refused, for people; None if it is allowed."""
        if not _SHAPE.fullmatch(name):
            return f"{name!r} is no name of a variable: letters, digits and _, not a digit first."
        if "\x00" in value:
            return f"The value of the variable {name} holds a NUL character."
        upper = name.upper()
        if name not in _FROM_CLIENTS and _matches(upper, _OURS):
            return f"The variable {name} is the platform's own to set."
        if name in _FROM_CLIENTS or _matches(name, self.allowed):
            return None
        what = self._steers(upper)
        return what and f"The variable {name} would say {what}; the operator may allow it ({SETTING})."

    def _steers(self, upper: str) -> str | None:
        """The decision that a variable would take from the operator; None if there is none."""
        # The address of a service whose key the operator gives to programs.
        families = {lent.upper().partition("_")[0] for lent in self.lent}
        if upper.partition("_")[0] in families and _matches(upper, _ADDRESSES):
            return "where the operator's own key is sent"
        return "how programs are executed" if _matches(upper, (*_KINDS, *_FAMILIES)) else None

    def refusals(self, variables: Sequence[Mapping[str, object]]) -> dict[int, str]:
        """The reasons of refused variables, by their position; each has a `name` and a `value`."""
        reasons = (self.refusal(str(one["name"]), str(one["value"])) for one in variables)
        return {place: reason for place, reason in enumerate(reasons) if reason is not None}

    def first_refusal(self, *lists: Sequence[JsonObject]) -> str | None:
        """The reason of the first refused variable; None if all are allowed."""
        return next((reason for one in lists for reason in self.refusals(one).values()), None)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
