"""One side of a run's guardrails."""

import asyncio

import pytest

from shared import extensions
from worker.executors.base import InvalidConfigurationError
from worker.guardrails.base import Finding
from worker.guardrails.guard import Direction, Guard, GuardrailError, Watch, make_guard, mask


def finds(word, score=1.0):
    def detect(text):
        at = text.find(word)
        return [] if at < 0 else [Finding(at, at + len(word), word.upper(), score)]

    return detect


def guard(*watches):
    return Guard(Direction.INPUT, watches)


def test_what_is_found_is_refused_by_its_kind_and_never_quoted():
    with pytest.raises(GuardrailError, match=r"^The guardrail 'pii' found ADA in the input\.$"):
        guard(Watch("pii", finds("ada"), 0.5, masks=False)).screen("I am ada.")


def test_what_is_masked_is_told():
    masking = guard(Watch("pii", finds("ada"), 0.5, masks=True), Watch("hap", finds("damn"), 0.5, masks=True))
    assert masking.screen("damn, I am ada.") == "[DAMN], I am [ADA]."
    assert masking.masked == {"pii": ["ADA"], "hap": ["DAMN"]}


def test_what_is_below_the_threshold_passes():
    assert guard(Watch("pii", finds("ada", score=0.4), 0.5, masks=False)).screen("ada") == "ada"


def test_a_score_that_is_no_number_is_as_good_as_any():
    assert guard(Watch("pii", finds("ada", score=float("nan")), 0.5, masks=True)).screen("ada") == "[ADA]"


class PanicException(BaseException):
    """As libraries that are written in Rust raise it."""


@pytest.mark.parametrize("error", [ValueError, PanicException, asyncio.CancelledError])
def test_a_detector_that_fails_lets_nothing_pass_and_quotes_nothing(error):
    def broken(text):
        raise error(text)

    with pytest.raises(GuardrailError) as failure:
        guard(Watch("pii", broken, 0.5, masks=True)).screen("ada")
    assert str(failure.value) == f"The detector of the guardrail 'pii' failed: {error.__name__}."
    assert failure.value.__context__ is None


@pytest.mark.parametrize(
    "place", [(-1, 3), (-4, -1), (2, 2), (3, 1), (2, 5), (None, 3), (0.0, 3.0), ("0", "3")]
)
@pytest.mark.parametrize("kind", ["ADA", None])
def test_what_cannot_be_masked_does_not_pass(place, kind):
    masking = guard(Watch("pii", lambda _: [Finding(*place, kind, 1.0)], 0.5, masks=True))

    with pytest.raises(GuardrailError, match=r"^The detector of the guardrail 'pii' failed: \w+\.$"):
        masking.screen("ada.")


@pytest.mark.parametrize("kinds", [[1, "ADA"], [None, None]])
def test_a_kind_that_is_no_text_is_a_failure_of_the_detector(kinds):
    findings = [Finding(0, 3, kind, 1.0) for kind in kinds]

    with pytest.raises(GuardrailError, match=r" failed: \w+\.$"):
        guard(Watch("pii", lambda _: findings, 0.5, masks=False)).screen("ada.")


@pytest.mark.parametrize(
    ("findings", "masked"),
    [
        ([], "0123456789"),
        ([(2, 4)], "01[A]456789"),
        ([(2, 4), (4, 6)], "01[A][B]6789"),
        ([(2, 6), (3, 4)], "01[A]6789"),
        ([(2, 4), (3, 6)], "01[A]6789"),
        ([(3, 6), (2, 4)], "01[B]6789"),
        ([(0, 10)], "[A]"),
    ],
)
def test_of_findings_that_overlap_nothing_is_left(findings, masked):
    found = [Finding(*place, kind, 1.0) for place, kind in zip(findings, "AB", strict=False)]
    assert mask("0123456789", found) == masked


def test_a_guard_watches_what_is_enabled_on_its_side():
    options = {"pii": {"input": {"enabled": True, "threshold": 0.95}, "output": {"enabled": False}}}
    assert make_guard(options, Direction.INPUT)
    assert not make_guard(options, Direction.OUTPUT)
    assert not make_guard({}, Direction.INPUT)
    assert not make_guard({"pii": None, "hap": {"input": None}}, Direction.INPUT)
    assert make_guard(options, Direction.INPUT).screen("(212) 555-2368") == "(212) 555-2368"  # not that sure
    with pytest.raises(GuardrailError):
        make_guard(options, Direction.INPUT).screen("ada@example.com")


def test_a_worker_without_the_detector_does_not_go_on_without_it():
    with pytest.raises(InvalidConfigurationError, match="no detector for the guardrail 'hap'"):
        make_guard({"hap": {"output": {"enabled": True}}}, Direction.OUTPUT)


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Install a distribution with a detector, and forget it afterwards."""

    def install(value, *requires):
        metadata = tmp_path / "acme_guards-1.0.dist-info"
        metadata.mkdir()
        needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-guards\nVersion: 1.0\n{needs}")
        (metadata / "entry_points.txt").write_text(f"[{extensions.GUARDRAILS}]\nhap = {value}\n")
        (tmp_path / "acme_guards.py").write_text("def detect(text):\n    return []\n")
        monkeypatch.syspath_prepend(tmp_path)
        extensions.installed_guardrails.cache_clear()

    yield install
    extensions.installed_guardrails.cache_clear()


def test_a_detector_of_another_distribution_is_found(distribution):
    distribution("acme_guards:detect")
    assert extensions.missing_guardrails(["pii", "hap"]) == []
    assert make_guard({"hap": {"input": {"enabled": True}}}, Direction.INPUT).screen("x") == "x"


@pytest.mark.parametrize(
    ("requirement", "is_whole"),
    [
        ("pytest; extra == 'hap'", True),
        ("no-such-package-anywhere; extra == 'hap'", False),
        ("pytest>=1000; extra == 'hap'", False),
        ("no-such-package-anywhere; extra == 'other'", True),
    ],
)
def test_a_detector_whose_extra_is_not_installed_is_none(distribution, requirement, is_whole):
    distribution("acme_guards:detect [hap]", requirement)
    assert extensions.missing_guardrails(["hap"]) == ([] if is_whole else ["hap"])


def test_one_that_cannot_be_loaded_is_a_matter_of_configuration(distribution):
    distribution("acme_guards:no_such_thing")
    with pytest.raises(InvalidConfigurationError, match="cannot be loaded"):
        make_guard({"hap": {"input": {"enabled": True}}}, Direction.INPUT)
