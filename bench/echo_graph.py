"""A graph for the peer: it answers at once with what it was told. It runs in the peer's environment."""

from langgraph.graph import StateGraph
from typing_extensions import TypedDict


class State(TypedDict):
    """What the graph is told and answers."""

    text: str


def echo(state: State) -> State:
    """Say it again."""
    return {"text": state["text"]}


builder = StateGraph(State)
builder.add_node("echo", echo)
builder.set_entry_point("echo")
builder.set_finish_point("echo")
graph = builder.compile()
