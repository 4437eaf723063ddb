"""Resources of Griptape Cloud that do not exist here: nobody takes that for an empty result."""

import uuid

import pytest

from api.griptape.unavailable import UNAVAILABLE


@pytest.mark.parametrize("resource", UNAVAILABLE)
def test_a_resource_that_does_not_exist_yet_is_a_501_that_names_it(client, resource):
    for method, path in (("GET", resource), ("POST", resource), ("GET", f"{resource}/{uuid.uuid4()}")):
        answer = client.request(method, f"/api/{path}", json={} if method == "POST" else None)
        assert answer.status_code == 501
        assert answer.json()["type"] == "NotImplemented"
        assert resource.replace("-", " ") in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("verb", ["query", "search"])
def test_a_question_to_a_knowledge_base_is_refused_in_no_json(client, verb):
    answer = client.post(f"/api/knowledge-bases/{uuid.uuid4()}/{verb}", json={"query": "Why?"})
    assert answer.status_code == 501
    with pytest.raises(ValueError, match=r"."):
        answer.json()


def test_without_a_key_it_is_a_401(anonymous):
    assert anonymous.get("/api/tools").status_code == 401
