"""The framework's ruleset driver, unmodified."""

import pytest
from griptape.drivers.ruleset.griptape_cloud import GriptapeCloudRulesetDriver
from griptape.rules import Rule, Ruleset

pytestmark = pytest.mark.timeout(300)

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def make_driver(cloud):
    """A driver as a user makes it."""
    return lambda **options: GriptapeCloudRulesetDriver(**cloud, **options)


@pytest.fixture
def make_ruleset(stack):
    """Make a ruleset of rules with these texts; return it."""

    def create(path, **body):
        answer = stack.client.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def make_ruleset(*texts, **fields):
        rules = [create("/api/rules", name="rule", rule=text) for text in texts]
        return create("/api/rulesets", rule_ids=[rule["rule_id"] for rule in rules], **fields)

    return make_ruleset


def test_a_ruleset_is_loaded_by_its_id(make_driver, make_ruleset):
    ruleset = make_ruleset("Be kind.", "Be brief.", name="Manners", metadata={"by": "Eliot"})
    rules, metadata = make_driver(ruleset_id=ruleset["ruleset_id"]).load("any name")
    assert all(isinstance(rule, Rule) for rule in rules)
    assert [rule.value for rule in rules] == ["Be kind.", "Be brief."]
    assert [rule.meta["griptape_cloud_rule_id"] for rule in rules] == ruleset["rule_ids"]
    assert metadata == {"by": "Eliot"}


def test_a_ruleset_is_loaded_by_its_alias(make_driver, make_ruleset, unique):
    make_ruleset("Be kind.", name="Manners", alias=unique)
    ruleset = Ruleset(name=unique, ruleset_driver=make_driver(), rules=[Rule("Be local.")])
    assert [rule.value for rule in ruleset.rules] == ["Be kind.", "Be local."]
    assert ruleset.meta == {}


def test_an_id_of_nobody_falls_back_to_the_alias(make_driver, make_ruleset, unique):
    make_ruleset("Be kind.", name="Manners", alias=unique)
    rules, _ = make_driver(ruleset_id=NOBODY).load(unique)
    assert [rule.value for rule in rules] == ["Be kind."]


def test_no_match_is_empty(make_driver, make_ruleset, unique):
    make_ruleset("Be kind.", name=unique, alias=f"{unique}-longer")
    for name in (unique, f"{unique}-LONGER", f"{unique}-longe"):
        assert make_driver(raise_not_found=False).load(name) == ([], {})
        with pytest.raises(ValueError, match="No ruleset found"):
            make_driver(ruleset_id=NOBODY).load(name)


def test_a_large_ruleset_is_loaded_whole(make_driver, make_ruleset):
    texts = [f"Rule {n}" for n in range(150)]
    ruleset = make_ruleset(*texts, name="Many")
    rules, _ = make_driver(ruleset_id=ruleset["ruleset_id"]).load("")
    assert [rule.value for rule in rules] == texts
