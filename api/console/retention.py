"""Retention: for how long runs and threads are kept, and what the next purge takes. Operators change it."""

from fastapi import APIRouter, Request, Response

from api.console.pages import page
from api.console.route import ConsoleRoute
from api.dependencies import PrincipalDep, SessionDep
from shared.retention.outlook import outlook
from shared.retention.policy import Policy

router = APIRouter(route_class=ConsoleRoute)


@router.get("/retention")
def show_retention(request: Request, session: SessionDep, principal: PrincipalDep) -> Response:
    """Show the retention of the organization, and what it means at present."""
    policy = Policy.of(request.app.state.settings)
    return page(request, "retention.html", outlook=outlook(session, policy, principal.organization_id))
