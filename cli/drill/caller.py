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

HTTP_TIMEOUT: Final = httpx2.Timeout(20, connect=5)  # seconds; a frozen server answers late
RETRY_INTERVAL: Final = (0.1, 0.5)  # seconds, least and most


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
        while True:
            try:
                answer = await self.http.request(method, path, headers=headers, **request)
            except httpx2.TransportError:
                self.answers.unreachable += 1
            else:
                self.note(answer, f"{method} {path}")
                if answer.is_success:
                    body: dict[str, Any] = answer.json()
                    return body
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
