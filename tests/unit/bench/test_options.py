"""The command line of the bench, and the time that it promises."""

from pathlib import Path

import pytest

from bench.__main__ import FULL_GROWTH, SCENARIOS, SITES, TIME, chosen, parse
from bench.session import LATEST


def test_without_a_name_all_scenarios_are_measured():
    options = parse([])
    assert options.scenarios == set(SCENARIOS)
    assert options.time == TIME
    assert chosen(options) == list(SITES)


def test_only_the_stacks_of_the_named_scenarios_start():
    (site,) = chosen(parse(["single", "create"]))
    assert [scenario.name for scenario in site.scenarios] == ["single", "create"]


def test_an_unknown_scenario_is_refused_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit):
        parse(["nonsense"])
    said = capsys.readouterr().err
    assert "nonsense" in said
    assert all(name in said for name in SCENARIOS)


@pytest.mark.parametrize("seconds", ["0", "-1", "soon"])
def test_a_time_that_is_none_is_refused(seconds: str):
    with pytest.raises(SystemExit):
        parse(["--time", seconds])


def test_full_growth_has_more_time():
    options = parse(["growth", "--full", "--json", "x.json"])
    assert (options.time, options.json) == (TIME + FULL_GROWTH, Path("x.json"))
    ((scenario,),) = [site.scenarios for site in chosen(options)]
    assert scenario.seconds == FULL_GROWTH


def test_each_scenario_has_one_name():
    assert len(set(SCENARIOS)) == len(SCENARIOS)


def test_the_scenarios_of_the_targets_are_all_there():
    wanted = {
        "create",
        "through",
        "single",
        "stream",
        "capacity",
        "fanout",
        "idle_streams",
        "cancel",
        "growth",
    }
    assert {*wanted, "cost", "memory", "waiting"} == set(SCENARIOS)


def test_all_is_over_within_six_minutes():
    stop = 15.0  # seconds: what `runyard dev` promises
    assert TIME + LATEST + stop <= 360


def test_help_names_the_scenarios(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse(["--help"])
    assert exit_.value.code == 0
    assert "idle_streams" in capsys.readouterr().out
