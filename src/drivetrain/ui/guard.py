"""What stands before every page: who may ask, from where, and what a browser may do with the answer."""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
COOKIE = "drivetrain_console"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Without a referrer at all, a browser would not name the origin of its own forms either.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
# What can be seen without the token: the door, and what it is painted with.
_OPEN = ("/login", "/static/")


class Guard:
    """Lets a request pass or answers it: wrong Host (DNS rebinding), foreign Origin, no token.

    Without a token only the loopback names and `host` are answered to. With one, any name is: a page of another name
    does not have the cookie.
    """

    def __init__(self, app: ASGIApp, *, host: str, token: str) -> None:
        self.app, self.token = app, token
        self.hosts = LOOPBACK | {host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    # What steps attached comes with stricter ones of its own.
                    headers.setdefault(name, value)
                if "cache-control" not in headers:
                    headers["cache-control"] = "no-store"
            await send(message)

        refusal = self.refusal(scope)
        await (refusal or self.app)(scope, receive, send_guarded)

    def refusal(self, scope: Scope) -> ASGIApp | None:
        """Return the answer to a request that may not pass."""
        headers, path = Headers(scope=scope), scope["path"]
        asked = headers.get("host", "")
        if not self.token and _name_of(asked) not in self.hosts:
            return PlainTextResponse("This console does not answer to that name.", 421)
        # A browser names the origin of whatever it sends, and no page can make it send another site's bearer token.
        is_program = bool(self.token) and "origin" not in headers and self.has_bearer(headers)
        is_ours = urlsplit(headers.get("origin", "")).netloc == asked
        if scope["method"] not in ("GET", "HEAD") and not (is_ours or is_program):
            return PlainTextResponse("Another site may not send anything here.", 403)
        if not self.token or path.startswith(_OPEN) or self.has_token(headers):
            return None
        if path.startswith("/api/"):
            return JSONResponse({"error": "this needs the console's token", "remedy": "Authorization: Bearer …"}, 401)
        return RedirectResponse(f"/login?next={quote(path)}", 303)

    def has_token(self, headers: Headers) -> bool:
        """Return whether the request carries the token, or the cookie that stands for it."""
        if self.has_bearer(headers):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), cookie_for(self.token).encode())

    def has_bearer(self, headers: Headers) -> bool:
        """Return whether the request carries the token itself, as programs do."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(given.encode(), self.token.encode())


def cookie_for(token: str) -> str:
    """Return the cookie that stands for a token, without telling it."""
    return hmac.new(token.encode(), b"drivetrain console", "sha256").hexdigest()


def safe_next(path: str) -> str:
    """Return where to go after the door: a path of this site, or the first page.

    >>> safe_next("/runs"), safe_next("//elsewhere.example"), safe_next("https://elsewhere.example")
    ('/runs', '/', '/')
    """
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


def _name_of(host: str) -> str:
    """Return the name in a Host header, without the port.

    >>> _name_of("[::1]:4200"), _name_of("localhost:4200")
    ('::1', 'localhost')
    """
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
