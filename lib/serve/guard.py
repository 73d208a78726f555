"""Who may ask: this machine's own pages and programs, or who has the token.

A page of elsewhere can make a browser send requests to this machine. One that reaches it by a name
of its own (DNS rebinding) is refused by its Host, others by their Origin.
"""

import hmac
import ipaddress
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.serve.limits import RefusedRequest

LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "seqtrack_token"
_SAFE = ("GET", "HEAD")
_PORT = re.compile(r":\d*$")
# So much of a body that is too large is read, so that who sends it gets to read the answer.
_DRAINED_BYTES = 256_000_000
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True)
class Gate:
    """Who is let in.

    Attributes:
        hosts: names and addresses by which the server is reached.
        addresses: whether any address will do, for a server on all of its machine's.
        token: what everybody has to know; empty for nothing.
        bytes: of a request's body at most.
    """

    hosts: Collection[str] = LOOPBACK
    addresses: bool = False
    token: str = ""
    bytes: int = 512_000_000

    def check_host(self, host: str) -> None:
        """Refuse a Host that is none of this server's. Raises RefusedRequest."""
        name = host.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else _PORT.sub("", name)
        if name in self.hosts or (self.addresses and _is_address(name)):
            return
        known = ", ".join(self.hosts)
        raise RefusedRequest(
            400, f"the server is not called {name[:80]!r} but {known}; --allow-host adds a name"
        )

    def check_origin(self, headers: Headers) -> None:
        """Refuse what a page of elsewhere sends. Raises RefusedRequest."""
        origin = headers.get("origin")
        elsewhere = origin is not None and _place(origin) != headers.get("host")
        if elsewhere or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise RefusedRequest(403, f"pages of {origin or 'elsewhere'} may not ask this server")

    def knows(self, given: Sequence[str]) -> bool:
        """Whether one of the given words is the token."""
        return not self.token or any(
            hmac.compare_digest(one.encode(), self.token.encode()) for one in given
        )


def _place(origin: str) -> str:
    """Host and port of an origin; empty for what is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Checks each request before the application sees it."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app, self.gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _with_headers(send)
        headers = Headers(scope=scope)
        try:
            self.gate.check_host(headers.get("host", ""))
            if scope["method"] not in _SAFE:
                self.gate.check_origin(headers)
            query = parse_qs(scope["query_string"].decode("latin-1"))
            if scope["path"] == "/" and self.gate.token and self.gate.knows(query.get("token", [])):
                await _welcome(self.gate.token, send)
                return
            if not self.gate.knows(_tokens(headers)):
                raise RefusedRequest(
                    401,
                    "a token is needed: open the link that the server printed, or send the header "
                    "Authorization: Bearer TOKEN",
                )
            if _announced(headers) > self.gate.bytes:
                await _drain(receive)
                raise self._too_large()
        except RefusedRequest as error:
            await _refuse(error, send)
            return
        await self.app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        """The body, as long as it is not too long."""
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.gate.bytes:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> RefusedRequest:
        return RefusedRequest(
            413, f"at most {self.gate.bytes / 1e6:g} MB are taken in one request (--max-mb)"
        )


def _announced(headers: Headers) -> int:
    """Bytes that a body is said to have; more digits than any body needs are as good as all."""
    length = headers.get("content-length", "0")
    return int(length[:20]) if length.isdecimal() else 0


def _tokens(headers: Headers) -> list[str]:
    """Every token that a request brings along."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    found = [token.strip()] if kind.lower() == "bearer" else []
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return found
    return [*found, *(cookies[name].value for name in cookies if name == COOKIE)]


async def _drain(receive: Receive) -> None:
    read = 0
    while read < _DRAINED_BYTES:
        message = await receive()
        read += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return


def _with_headers(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return guarded


async def _refuse(error: RefusedRequest, send: Send) -> None:
    body = json.dumps({"error": str(error)}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _welcome(token: str, send: Send) -> None:
    """From the link with the token to the page, which keeps it as a cookie."""
    cookie = f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/"
    headers = [(b"location", b"/"), (b"set-cookie", cookie.encode())]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
