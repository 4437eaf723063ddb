"""The route class of what a run's code reports: its log tells of a report that was too large to be read."""

import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from api.errors import TOO_LARGE
from api.middleware import BodyRule
from api.resources import Resources
from api.routing import JsonRequest, KeyedRoute
from api.traffic.lanes import Lanes, largest_report
from shared import artifacts as outputs
from shared.db import unit_of_work
from shared.errors import ConflictError, NotFoundError
from shared.keys.principal import Principal
from shared.settings import Settings
from shared.structures import reports

_WITH_OUTPUT: Final = re.compile(r"/api/structure-runs/[^/]+/(events|complete)")
_SPANS: Final = re.compile(r"/api/structure-runs/[^/]+/spans")


def body_rules(settings: Settings) -> Callable[[str], BodyRule]:
    """How large a body may be, by its path: with an output in it, larger than any other."""
    ordinary = BodyRule(settings.max_body_bytes)
    with_output = BodyRule(largest_report(settings), knows_caller=True)
    spans = BodyRule(settings.max_body_bytes, knows_caller=True)

    def rule_of(path: str) -> BodyRule:
        if not path.startswith("/api/structure-runs/"):
            return ordinary
        if _WITH_OUTPUT.fullmatch(path):
            return with_output
        return spans if _SPANS.fullmatch(path) else ordinary

    return rule_of


class ReportRoute(KeyedRoute):
    """A route for reports: a program may take no notice of the refusal of one, so the log has to tell."""

    has_events = False  # in which the run's output may be

    async def read(self, request: Request, lanes: Lanes) -> JsonRequest:
        """Read a body as JSON.

        Raises:
            HTTPException: it is too large; the run's log tells so, if there is a run that takes reports.
        """
        resources: Resources = request.app.state.resources
        principal: Principal = request.state.principal

        def note(said: str) -> None:
            with (
                suppress(NotFoundError, ConflictError, ValueError),
                unit_of_work(resources.sessions) as session,
            ):
                reports.note_refused(
                    session,
                    resources.dispatcher,
                    principal,
                    uuid.UUID(request.path_params["structure_run_id"]),
                    said,
                    has_events=self.has_events,
                )

        try:
            return await super().read(request, lanes)
        except HTTPException as refusal:
            if refusal.status_code == TOO_LARGE:
                said = f"A report of the program was refused: {refusal.detail}"
                if self.has_events:
                    limit = resources.quotas.output
                    said += f" The output may have {limit} bytes at the most ({outputs.SETTING})."
                await lanes.requests.run(principal.organization_id, note, said)
            raise


class EventsRoute(ReportRoute):
    """A route for a run's events."""

    has_events = True
