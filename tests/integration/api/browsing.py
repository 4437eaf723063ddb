"""The console as a browser asks for it, without one."""

import re
from typing import Any, Final

import httpx2

HTML: Final = {"Accept": "text/html"}


class Browser:
    """What a browser does: it keeps the cookie, and sends the token of the page."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.client.headers.pop("Authorization", None)
        if self.client.base_url.host == "testserver":
            self.client.base_url = "http://localhost"  # where a cookie needs no TLS
        self.client.follow_redirects = False

    def sign_in(self, secret: str) -> httpx2.Response:
        answer = self.client.post("/console/sign-in", data={"key": secret})
        assert answer.status_code == 303, answer.text
        return answer

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return self.client.get(f"/console{path}", headers={**HTML, **headers})

    def token(self) -> str:
        """What a page of this session sends with every action."""
        (token,) = set(re.findall(r'name="csrf" value="(\w+)"', self.get("/runs").text))
        return token

    def post(self, path: str, **fields: Any) -> httpx2.Response:
        return self.client.post(f"/console{path}", data={**fields, "csrf": self.token()}, headers=HTML)
