"""Callbacks: who may be told, and how."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest
from tests.serving.answering import Handler, answering
from tests.serving.jobs.test_api import ended, take
from tests.serving.world import ROW, promote, register, served, wait_until

from drivetrain.errors import RequestError
from drivetrain.serving.jobs.callback import address_of, check_url
from drivetrain.serving.jobs.terms import callbacks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivetrain.store.store import Store

HOSTS = "example.org,*.example.net,10.1.0.0/16"


@pytest.mark.parametrize(
    "url", ["https://example.org/done", "https://a.example.net:8443/?x=1", "http://10.1.2.3/", "https://EXAMPLE.org."]
)
def test_a_listed_host_is_allowed(url: str) -> None:
    assert check_url(url, callbacks_of(HOSTS, "s")) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://example.org.evil.com/",
        "https://evilexample.org/",
        "https://example.net/",
        "http://10.2.0.1/",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data",
        "http://2130706433/",
        "https://user@example.org/",
        "https://example.org@evil.com/",
        "ftp://example.org/",
        "//example.org/",
        "https:///done",
        "https://example.org/\r\nx: y",
        "",
        5,
        "https://example.org/" + "x" * 3000,
    ],
)
def test_any_other_is_refused(url: object) -> None:
    with pytest.raises(RequestError) as refused:
        check_url(url, callbacks_of(HOSTS, "s"))

    assert refused.value.status == 422


def test_a_name_that_leads_to_a_private_address_is_not_asked() -> None:
    with pytest.raises(OSError, match="private"):
        address_of("localhost", 80, callbacks_of("localhost", "s"))

    assert address_of("localhost", 80, callbacks_of("localhost,127.0.0.0/8,::1", "s"))[1] == 80


class _Ear(Handler):
    heard: list[tuple[str, bytes]] = []
    answers: list[int] = []

    def post(self) -> None:
        self.heard.append((self.headers["drivetrain-signature"], self.read()))
        self.send(self.answers.pop(0) if self.answers else 204, location="http://127.0.0.1:1/")


@pytest.fixture
def ear() -> Iterator[str]:
    _Ear.heard, _Ear.answers = [], [500, 302]
    with answering(_Ear) as port:
        yield f"http://127.0.0.1:{port}/done?who=me"


def test_a_client_is_told_signed_and_again_until_it_has_taken_it(store: Store, ear: str) -> None:
    promote(store, register(store, 1))
    with served(store, CALLBACK_HOSTS="127.0.0.1") as running:
        name = take(running, ROW, params={"callback_url": ear})["id"]
        ended(running, name)

        def told() -> bool:
            return bool(running.client.get(f"/jobs/{name}").json()["callback"]["state"] == "told")

        wait_until(told, 20)
        seen = running.client.get(f"/jobs/{name}").json()["callback"]

    assert [each["status"] for each in seen["attempts"]] == [500, 302, 204]
    signature, body = _Ear.heard[-1]
    at, digest = (part.partition("=")[2] for part in signature.split(","))
    assert hmac.new(b"secret", at.encode() + b"." + body, hashlib.sha256).hexdigest() == digest
    assert f'"id":"{name}","state":"done"'.encode() in body
