"""A client of the HTTP API, for the command line."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx2

from shared.addresses.web import is_loopback
from shared.errors import RunyardError
from shared.lifecycle import ACTIVE, TERMINAL, RunKind, RunStatus, is_last

HTTP_TIMEOUT: Final = httpx2.Timeout(10, read=30)  # seconds; an idle stream sends a heartbeat every five
RECONNECT_INTERVAL: Final = 0.5  # seconds
RECONNECT_TIMEOUT: Final = 60.0  # seconds without an answer
STEADY: Final = 10.0  # seconds for which a stream is open before the API counts as back, without an event
PAGE_SIZE: Final = 100


class ApiUnreachableError(RunyardError):
    """The API does not answer."""

    def __init__(self, url: str, error: Exception) -> None:
        super().__init__(f"No Runyard API answers at {url} ({error}). Is `runyard dev` running?")


class ApiRefusedError(RunyardError):
    """The API answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"The API answered {status}: {message}")
        self.status = status


class ApiUnavailableError(ApiRefusedError):
    """The API cannot answer at the moment."""


class _NothingFollowsError(RunyardError):
    """The run has ended, and all of its events have been read."""


class KeyRefusedError(ApiRefusedError):
    """The API does not accept the key."""

    def __init__(self, status: int) -> None:
        super().__init__(status, "this API key is not accepted; give one with --api-key or RUNYARD_API_KEY.")


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a run, as the stream sends it."""

    seq: int
    origin: str
    type: str
    payload: Mapping[str, Any]
    created_at: datetime

    @classmethod
    def parse(cls, message: httpx2.ServerSentEvent) -> Self:
        fields: Any = message.json()
        return cls(
            seq=int(message.id),
            origin=fields["origin"],
            type=fields["type"],
            payload=fields["payload"],
            created_at=datetime.fromisoformat(fields["created_at"]),
        )

    @property
    def is_last(self) -> bool:
        return is_last(self.type, self.origin)


class Reconnection:
    """Waits between attempts to reach an API that is away, as during a restart, and gives up in the end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._away_since: float | None = None

    def reset(self) -> None:
        """Start the timeout anew: the API has answered."""
        self._away_since = None

    @contextmanager
    def streaming(self) -> Generator[None]:
        """Hold a stream open during the block: if that lasts, the API is there, however quiet the run is."""
        begun_at = time.monotonic()
        try:
            yield
        finally:
            if time.monotonic() - begun_at >= STEADY:
                self.reset()

    def wait(self, reason: Exception) -> None:
        """Wait for the next attempt after a failed one.

        Raises:
            ApiUnreachableError: the API has been away for `RECONNECT_TIMEOUT`.
        """
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        if now < self._away_since + RECONNECT_TIMEOUT:
            time.sleep(RECONNECT_INTERVAL)
        elif isinstance(reason, ApiUnreachableError):
            raise reason
        else:
            raise ApiUnreachableError(self._url, reason) from reason


class Client:
    """Calls the API with a key. Every failure is an error of one readable sentence."""

    def __init__(self, url: str, key: str, *, transport: httpx2.BaseTransport | None = None) -> None:
        self._url = url.rstrip("/")
        self._structure_runs: set[str] = set()  # ids, learnt from answers
        self._http = httpx2.Client(
            base_url=f"{self._url}/api",
            headers={"Authorization": f"Bearer {key}"},
            timeout=HTTP_TIMEOUT,
            follow_redirects=False,  # the key is for this address alone
            trust_env=not is_loopback(urlsplit(url).hostname or ""),  # a proxy does not lead to loopback
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ensure_assistant(self, name: str) -> str:
        """Return the id of the assistant of a name; create the assistant if it is missing."""
        for assistant in self.assistants():
            if assistant["name"] == name:
                return str(assistant["assistant_id"])
        return str(self._call("POST", "/assistants", json={"name": name})["assistant_id"])

    def assistants(self) -> Iterator[dict[str, Any]]:
        """Yield all assistants of the key's organization, newest first."""
        return self._list("assistants")

    def structures(self) -> Iterator[dict[str, Any]]:
        """Yield all structures of the key's organization, newest first."""
        return self._list("structures")

    def create_run(self, assistant_id: str, text: str, **fields: Any) -> str:
        """Create a run and return its id. Further fields are its model and limits; None leaves one out."""
        given = {name: value for name, value in fields.items() if value is not None}
        body = {"input": text, "stream": True, **given}
        answer = self._call("POST", f"/assistants/{assistant_id}/runs", json=body)
        return str(answer["assistant_run_id"])

    def get_run(self, run_id: str) -> dict[str, Any]:
        """Return a run of either kind."""
        return self._call_run("GET", run_id)

    def get_ended_run(self, run_id: str) -> dict[str, Any]:
        """Return a run whose end was seen, across an API that is away meanwhile.

        Raises:
            ApiUnreachableError: the API has been away for `RECONNECT_TIMEOUT`.
        """
        reconnection = Reconnection(self._url)
        while True:
            try:
                return self.get_run(run_id)
            except (ApiUnreachableError, ApiUnavailableError) as error:
                reconnection.wait(error)

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        """Cancel a run of either kind."""
        return self._call_run("POST", run_id, "/cancel", json={})

    def cancel_runs(
        self, subject_id: str, statuses: Sequence[str] | None = None, *, kind: RunKind = RunKind.ASSISTANT
    ) -> Iterator[str]:
        """Cancel runs of an assistant or a structure; yield their ids.

        Args:
            statuses: cancels only runs in these; without it, every unfinished run.
        """
        body = {} if statuses is None else {"statuses": list(statuses)}
        is_done = False
        while not is_done:
            answer = self._call("POST", f"/{kind}s/{subject_id}/runs/cancel", json=body)
            yield from answer[f"{kind}_run_ids"]
            is_done = not answer["remaining"]

    def active_runs(self, statuses: Sequence[str] | None = None, *, kind: RunKind) -> Iterator[str]:
        """Yield the ids of the organization's unfinished runs of a kind, newest first.

        Args:
            statuses: only runs in these.
        """
        wanted = sorted(ACTIVE) if statuses is None else statuses
        for run in self._list(f"{kind}-runs", key=f"{kind}_runs", status=",".join(wanted)):
            yield str(run[f"{kind}_run_id"])

    def assistant_run(self, run_id: str) -> dict[str, Any]:
        """Return an assistant run."""
        return self._call("GET", f"/assistant-runs/{run_id}")

    def structure_run(self, run_id: str, *, wait: float = 0) -> dict[str, Any]:
        """Return a structure run when it ends or after `wait` seconds."""
        return self._call("GET", f"/structure-runs/{run_id}", params={"wait": wait})

    def log_lines(self, run_id: str, *, offset: int) -> list[str]:
        """Return lines of a structure run's log, from line number `offset` on."""
        return list(self._call("GET", f"/structure-runs/{run_id}/logs", params={"offset": offset})["logs"])

    def follow_log(self, run_id: str, *, interval: float) -> Iterator[tuple[RunStatus, list[str]]]:
        """Yield a structure run's status with new lines of its log, until it ends, across lost connections.

        An API that is away at the first request is an error at once.

        Args:
            interval: seconds between two requests while the run goes on.
        """
        offset = 0
        run = self.structure_run(run_id)
        reconnection = Reconnection(self._url)
        while True:
            try:
                lines = self.log_lines(run_id, offset=offset)
                status = RunStatus(run["status"])
                if lines or status in TERMINAL:
                    offset += len(lines)
                    yield status, lines
                if not lines and status in TERMINAL:
                    return
                run = self.structure_run(run_id, wait=0 if status in TERMINAL else interval)
                reconnection.reset()
            except (ApiUnreachableError, ApiUnavailableError) as error:
                reconnection.wait(error)

    def follow(self, run_id: str) -> Iterator[Event]:
        """Yield a run's events from first to last, each once, across lost connections."""
        seq = -1
        reconnection = Reconnection(self._url)
        while True:
            reason: Exception = EOFError("the stream ended before the run")
            try:
                for event in self._stream(run_id, reconnection, after=seq):
                    seq = event.seq
                    reconnection.reset()
                    yield event
                    if event.is_last:
                        return
            except _NothingFollowsError:
                return
            except (httpx2.TransportError, ApiUnavailableError) as error:
                reason = error
            reconnection.wait(reason)

    def _list(self, path: str, *, key: str | None = None, **wanted: str) -> Iterator[dict[str, Any]]:
        """Yield all items of a list, by cursor, each once even if others come and go meanwhile.

        Args:
            path: of the list.
            key: what the answer calls it, if not as its path.
            wanted: what narrows it.
        """
        cursor: str | None = ""
        while cursor is not None:
            params = {"cursor": cursor, "page_size": PAGE_SIZE, **wanted}
            answer = self._call("GET", f"/{path}", params=params)
            yield from answer[key or path]
            cursor = answer["pagination"].get("next_cursor")

    def _call_run(self, method: str, run_id: str, subpath: str = "", **request: Any) -> dict[str, Any]:
        """Call a route of a run. Its kind is found by trying, and remembered."""
        try:
            return self._call(method, self._path(run_id) + subpath, **request)
        except ApiRefusedError as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND or run_id in self._structure_runs:
                raise
            self._structure_runs.add(run_id)
            try:
                return self._call(method, self._path(run_id) + subpath, **request)
            except ApiRefusedError:
                self._structure_runs.discard(run_id)
                raise refusal from None

    def _path(self, run_id: str) -> str:
        kind = RunKind.STRUCTURE if run_id in self._structure_runs else RunKind.ASSISTANT
        return f"/{kind}-runs/{run_id}"

    def _stream(self, run_id: str, reconnection: Reconnection, *, after: int) -> Iterator[Event]:
        headers = {"Last-Event-ID": str(after)} if after >= 0 else {}
        with self._http.stream("GET", f"{self._path(run_id)}/events/stream", headers=headers) as response:
            if response.status_code == HTTPStatus.NO_CONTENT:
                raise _NothingFollowsError
            if not response.is_success:
                response.read()
                raise _refusal(response)
            with reconnection.streaming():
                for message in httpx2.EventSource(response, max_event_size=None):
                    event = Event.parse(message)
                    if event.seq > after:
                        yield event

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **request)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise ApiUnreachableError(self._url, error) from error
        if not response.is_success:
            raise _refusal(response)
        answer: dict[str, Any] = response.json()
        return answer


def _refusal(response: httpx2.Response) -> ApiRefusedError:
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        return KeyRefusedError(response.status_code)
    if response.is_server_error or response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        return ApiUnavailableError(response.status_code, _message(response))
    return ApiRefusedError(response.status_code, _message(response))


def _message(response: httpx2.Response) -> str:
    """The messages of an error's body, in one line."""
    try:
        errors = response.json().get("errors") or []
    except (ValueError, AttributeError):
        errors = []
    messages = "; ".join(
        str(error.get("message", error) if isinstance(error, dict) else error) for error in errors
    )
    return messages or response.reason_phrase
