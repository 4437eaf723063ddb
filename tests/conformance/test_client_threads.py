"""The generated client: threads and their messages."""

import pytest

pytestmark = pytest.mark.timeout(300)


def exchanges(count):
    return [{"input": f"in {n}", "output": f"out {n}", "metadata": {"n": n}} for n in range(count)]


@pytest.fixture
def thread(new, unique):
    return new("thread", name="Dresden", alias=unique, metadata={"year": 1945}, messages=exchanges(3))


def test_a_thread_with_its_first_messages(api, thread, unique):
    assert (thread.name, thread.alias) == ("Dresden", unique)
    assert isinstance(thread.metadata, api.models.Metadata)
    assert thread.metadata["year"] == 1945
    assert thread.message_count == 3
    assert thread.messages_length == len("in 0out 0") * 3
    assert api.call("get_thread", thread.thread_id).to_dict() == thread.to_dict()


def test_threads_are_found_by_alias_beginning_and_creator(api, thread, unique):
    def ids(**query):
        listed = api.call("list_threads", **query)
        assert all(isinstance(each, api.models.ThreadDetail) for each in listed.threads)
        return [each.thread_id for each in listed.threads]

    assert ids(alias=unique) == [thread.thread_id]
    assert ids(alias=unique[:-1]) == []
    assert ids(alias=unique.upper()) == []
    assert ids(starts_with=unique[:-1]) == [thread.thread_id]
    assert ids(created_by=thread.created_by, page_size=1) == [thread.thread_id]
    assert ids(created_by=thread.thread_id) == []


def test_a_change_leaves_alone_what_it_does_not_name(api, thread):
    changed = api.call("update_thread", thread.thread_id, body=api.body("update_thread", name="Ilium"))
    assert changed.name == "Ilium"
    assert (changed.alias, changed.message_count) == (thread.alias, 3)
    assert changed.metadata["year"] == 1945


def test_messages_in_a_change_replace_all_there_were(api, thread):
    body = api.body("update_thread", messages=[{"input": "Listen", "output": "So it goes"}])
    assert api.call("update_thread", thread.thread_id, body=body).message_count == 1
    (message,) = api.call("list_messages", thread.thread_id).messages
    assert (message.input_, message.output) == ("Listen", "So it goes")


def test_an_alias_is_taken_once(api, thread):
    refusal = api.refused(409, "create_thread", body=api.body("create_thread", name="x", alias=thread.alias))
    assert thread.alias in refusal.errors[0]["message"]


def test_messages_are_listed_oldest_first(api, thread):
    listed = api.call("list_messages", thread.thread_id)
    assert all(isinstance(message, api.models.MessageDetail) for message in listed.messages)
    assert [message.input_ for message in listed.messages] == ["in 0", "in 1", "in 2"]
    assert [message.metadata["n"] for message in listed.messages] == [0, 1, 2]
    page = api.call("list_messages", thread.thread_id, page=2, page_size=2)
    assert [message.output for message in page.messages] == ["out 2"]
    assert page.pagination.previous_page == 1


def test_the_life_of_a_message(api, new, thread):
    message = new("message", thread.thread_id, input="Hi", output="Ho", metadata={"mood": "fair"})
    assert message.thread_id == thread.thread_id
    assert message.metadata["mood"] == "fair"
    last = api.call("list_messages", thread.thread_id).messages[-1]
    assert last.to_dict() == message.to_dict()
    changed = api.call("update_message", message.message_id, body=api.body("update_message", output="Hi ho"))
    assert (changed.input_, changed.output, changed.index) == ("Hi", "Hi ho", message.index)
    assert api.call("get_message", message.message_id).to_dict() == changed.to_dict()
    api.call("delete_message", message.message_id)
    api.refused(404, "get_message", message.message_id)
    assert api.call("get_thread", thread.thread_id).message_count == 3


def test_a_deleted_thread_takes_its_messages_along(api, thread):
    message = api.call("list_messages", thread.thread_id).messages[0]
    api.call("delete_thread", thread.thread_id)
    api.refused(404, "get_thread", thread.thread_id)
    api.refused(404, "list_messages", thread.thread_id)
    api.refused(404, "get_message", message.message_id)
