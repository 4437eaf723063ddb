"""The generated client: rulesets and rules."""

import pytest

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def rules(new):
    return [new("rule", name=f"rule {n}", rule=f"Say {n}.", metadata={"n": n}) for n in range(3)]


@pytest.fixture
def ruleset(new, rules, unique):
    ids = [rule.rule_id for rule in reversed(rules)]
    return new(
        "ruleset", name="Manners", alias=unique, description="Be kind", rule_ids=ids, metadata={"a": 1}
    )


def test_the_life_of_a_rule(api, new):
    rule = new("rule", name="tone", rule="Be kind.", metadata={"by": "Eliot"})
    assert isinstance(rule.metadata, api.models.Metadata)
    body = api.body("update_rule", rule="Be kind, babies.")
    changed = api.call("update_rule", rule.rule_id, body=body)
    assert (changed.name, changed.rule, changed.metadata["by"]) == ("tone", "Be kind, babies.", "Eliot")
    assert api.call("get_rule", rule.rule_id).to_dict() == changed.to_dict()
    api.call("delete_rule", rule.rule_id)
    api.refused(404, "get_rule", rule.rule_id)


def test_rules_of_a_ruleset_are_listed_in_its_order(api, rules, ruleset):
    listed = api.call("list_rules", ruleset_id=ruleset.ruleset_id)
    assert all(isinstance(rule, api.models.RuleDetail) for rule in listed.rules)
    assert [rule.rule for rule in listed.rules] == ["Say 2.", "Say 1.", "Say 0."]
    assert listed.pagination.total_count == 3


def test_all_rules_are_listed_newest_first(api, rules):
    listed = api.call("list_rules", page=1, page_size=2)
    assert [rule.rule_id for rule in listed.rules] == [rules[2].rule_id, rules[1].rule_id]


def test_rulesets_are_found_by_alias(api, ruleset, unique):
    listed = api.call("list_rulesets", alias=unique)
    assert [each.to_dict() for each in listed.rulesets] == [ruleset.to_dict()]
    assert isinstance(listed.rulesets[0], api.models.RulesetDetail)
    assert api.call("list_rulesets", alias=unique[:-1]).rulesets == []
    newest = api.call("list_rulesets", page_size=1).rulesets
    assert [each.ruleset_id for each in newest] == [ruleset.ruleset_id]


def test_the_life_of_a_ruleset(api, rules, ruleset, unique):
    assert ruleset.rule_ids == [rule.rule_id for rule in reversed(rules)]
    body = api.body("update_ruleset", name="Better manners", rule_ids=[rules[0].rule_id])
    changed = api.call("update_ruleset", ruleset.ruleset_id, body=body)
    assert (changed.name, changed.alias, changed.description) == ("Better manners", unique, "Be kind")
    assert changed.rule_ids == [rules[0].rule_id]
    assert changed.metadata["a"] == 1
    assert api.call("get_ruleset", ruleset.ruleset_id).to_dict() == changed.to_dict()
    api.call("delete_ruleset", ruleset.ruleset_id)
    api.refused(404, "get_ruleset", ruleset.ruleset_id)
    assert api.call("get_rule", rules[0].rule_id).name == "rule 0"


def test_a_rule_can_be_deleted_while_a_ruleset_lists_it(api, rules, ruleset):
    api.call("delete_rule", rules[1].rule_id)
    left = api.call("get_ruleset", ruleset.ruleset_id)
    assert left.rule_ids == [rules[2].rule_id, rules[0].rule_id]
