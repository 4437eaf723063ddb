"""The options of `runyard dev` and `runyard worker` that say how much is executed at once."""

from typing import Annotated

import typer

Concurrency = Annotated[
    int | None, typer.Option(min=1, help="Runs a worker process executes at once.", show_default="50")
]
Processes = Annotated[int | None, typer.Option(min=1, help="Worker processes.", show_default="1")]
