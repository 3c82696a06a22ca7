"""Where called services answer, as the settings say it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from drivetrain.errors import BadSetting, MissingExtra, NotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses of called services by name, and the tokens that they ask for; all others answer in process."""

    urls: dict[str, str] = {}
    tokens: dict[str, str] = {}


def addresses_of(
    urls: Mapping[str, str], tokens: Mapping[str, str], *, known: Collection[str], port: int = 0
) -> Addresses:
    """Return what two settings say; `known` are the services of the system, and `port` is that of the server itself.

    Raises:
        NotFound: there is no such service.
        BadSetting: an address is none, or is the server's own.
        MissingExtra: httpx is not installed.
    """
    for setting, named in (("serve.addresses", urls), ("serve.address_tokens", tokens)):
        for name in named:
            if name not in known:
                raise NotFound(kind=f"service, which {setting} names,", name=name, known=list(known))
    for name, url in urls.items():
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            right = "write it as http://HOST:PORT, without a name or password: serve.address_tokens has the token"
            raise BadSetting(setting=f"serve.addresses.{name}", found=repr(url), right=right)
        if parts.hostname in ("127.0.0.1", "localhost", "::1") and parts.port == port:
            right = "this server listens there itself: a called service at an address has a server of its own"
            raise BadSetting(setting=f"serve.addresses.{name}", found=repr(url), right=right)
    if urls:
        try:
            import drivetrain.training.httpx  # noqa: F401  # here only whether it is there
        except ImportError as error:
            raise MissingExtra(library="httpx", extra="remote", purpose="services at addresses") from error
    return Addresses(urls=dict(urls), tokens=dict(tokens))
