"""Resources of Griptape Cloud that do not exist here: nobody takes that for an empty result."""

import uuid

import pytest

from api.griptape.unavailable import UNAVAILABLE
from api.watsonx import unavailable as watsonx


@pytest.mark.parametrize("resource", UNAVAILABLE)
def test_a_resource_that_does_not_exist_yet_is_a_501_that_names_it(client, resource):
    for method, path in (("GET", resource), ("POST", resource), ("GET", f"{resource}/{uuid.uuid4()}")):
        answer = client.request(method, f"/api/{path}", json={} if method == "POST" else None)
        assert answer.status_code == 501
        assert answer.json()["type"] == "NotImplemented"
        assert resource.replace("-", " ") in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("prefix", ["/v1", "/v1/orchestrate", "/api/v1/orchestrate"])
@pytest.mark.parametrize("resource", watsonx.UNAVAILABLE)
def test_the_other_dialect_says_so_too_as_its_clients_read_a_404_as_an_empty_list(client, prefix, resource):
    for method, path in (("GET", resource), ("POST", resource), ("GET", f"{resource}/{uuid.uuid4()}?x=1")):
        answer = client.request(method, f"{prefix}/{path}", json={} if method == "POST" else None)
        assert answer.status_code == 501
        assert "Runyard does not have" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "knowledge-bases/{}/query"),
        ("POST", "knowledge-bases/{}/search"),
        ("GET", "buckets/{}/assets?prefix=x"),
    ],
)
def test_what_drivers_ask_for_without_a_look_at_the_status_is_refused_in_no_json(client, method, path):
    answer = client.request(method, f"/api/{path.format(uuid.uuid4())}")
    assert answer.status_code == 501
    with pytest.raises(ValueError, match=r"."):
        answer.json()


def test_without_a_key_it_is_a_401(anonymous):
    assert anonymous.get("/api/tools").status_code == 401
    assert anonymous.get("/v1/models").status_code == 401
