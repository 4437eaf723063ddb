"""What is said in a message: a text, or blocks of which text is read (contract: watsonx §3.3)."""

from pydantic import BaseModel


class Block(BaseModel):
    """A part of a message."""

    response_type: str | None = None
    text: str | None = None


Content = str | list[Block]


def text_in(content: Content) -> str:
    """The text of a message; that of several blocks, each from a line of its own on."""
    if isinstance(content, str):
        return content
    return "\n".join(block.text for block in content if block.text is not None)
