"""The drill's client of the API: it retries until it is answered, and records every wrong answer."""

import asyncio
import random
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from cli.drill.record import Answers
from shared.addresses.web import is_loopback
from shared.errors import RunyardError

HTTP_TIMEOUT: Final = httpx2.Timeout(20, connect=5)  # seconds; a frozen server answers late
RETRY_INTERVAL: Final = (0.1, 0.5)  # seconds, least and most


MOST_REFUSALS: Final = 20
"""Refusals of one request, one after the other, after which it is not asked again."""

LATER: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
"""Refusals that say to come again."""


class DrillRefusedError(RunyardError):
    """The API refuses what a drill cannot do without, whatever the faults."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(
            f"The API answers {what} with {status}, again and again: the drill cannot begin its runs."
        )


class Caller:
    """A client that survives faults, for one event loop."""

    def __init__(self, url: str, key: str, answers: Answers) -> None:
        self.answers = answers
        self.http = httpx2.AsyncClient(
            base_url=f"{url.rstrip('/')}/api",
            headers={"Authorization": f"Bearer {key}"},
            timeout=HTTP_TIMEOUT,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=50),
            trust_env=not is_loopback(urlsplit(url).hostname or ""),
        )

    async def call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **request: Any
    ) -> dict[str, Any]:
        """Call until a success, across faults. The caller sets a time limit."""
        return await self._call(method, path, None, headers=headers, **request)

    async def create(
        self, path: str, *, headers: Mapping[str, str] | None = None, **request: Any
    ) -> dict[str, Any]:
        """Create something without which there is no drill, across faults, however long they last.

        Raises:
            DrillRefusedError: the API has refused it `MOST_REFUSALS` times, one after the other.
        """
        return await self._call("POST", path, MOST_REFUSALS, headers=headers, **request)

    async def _call(
        self, method: str, path: str, most_refusals: int | None, **request: Any
    ) -> dict[str, Any]:
        refusals = 0
        while True:
            try:
                answer = await self.http.request(method, path, **request)
            except httpx2.TransportError:
                self.answers.unreachable += 1
            else:
                self.note(answer, f"{method} {path}")
                if answer.is_success:
                    body: dict[str, Any] = answer.json()
                    return body
                is_refused = answer.is_client_error and answer.status_code not in LATER
                refusals = refusals + 1 if is_refused else 0
                if refusals == most_refusals:
                    raise DrillRefusedError(f"{method} {path}", answer.status_code)
            await asyncio.sleep(random.uniform(*RETRY_INTERVAL))  # noqa: S311  # an interval

    def note(self, answer: httpx2.Response, what: str) -> None:
        """Count an answer, as a refusal unless it is a success or a 503 with Retry-After."""
        self.answers.count(str(answer.status_code))
        is_busy = (
            answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
            and answer.headers.get("Retry-After") is not None
        )
        if not (answer.is_success or is_busy):
            self.answers.refusals.append(f"{what}: {answer.status_code}")
