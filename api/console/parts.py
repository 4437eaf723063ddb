"""Parts of pages that refresh themselves: the windows of an organization share what one of them was told."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from fastapi import Request
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse, Response

from api.console.pages import NO_STORE, NOTICE, base_path, is_part
from api.dependencies import Reader
from shared.keys.principal import Principal

TTL: Final = 2.0  # seconds; the pages ask every five
MOST: Final = 256  # parts that are remembered, of some 30 kB each
LARGEST: Final = 262_144  # bytes of one

_known: OrderedDict[Hashable, tuple[float, Response]] = OrderedDict()  # of the event loop alone


async def shared_part(
    request: Request, principal: Principal, read: Reader, make: Callable[[Session], Response]
) -> Response:
    """Answer with a page. A request for its changing part alone may get one that is up to `TTL` old.

    Args:
        make: makes the answer, which depends on the organization, the scope and the address alone. So the
            part has no form, whose token is of one session.
    """
    if not is_part(request):
        return await read(make)
    scope = request.scope
    address = (base_path.get(), scope["path"], scope["query_string"])
    key = (principal.organization_id, principal.scope, address)
    made_at, known = _known.get(key, (float("-inf"), None))
    if known is None or time.monotonic() - made_at >= TTL:
        known = await read(make)
        if len(known.body) <= LARGEST:
            _known[key] = (time.monotonic(), known)
            _known.move_to_end(key)
            while len(_known) > MOST:
                _known.popitem(last=False)
    headers = {name: known.headers[name] for name in (NOTICE,) if name in known.headers}
    return HTMLResponse(bytes(known.body), known.status_code, headers=NO_STORE | headers)
