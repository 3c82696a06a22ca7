"""A client of a service in this process: the same answers as the server's, without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.errors import NotFound
from drivetrain.serving.batching import Batch, Failure, answered, replies
from drivetrain.serving.live import load, wanted
from drivetrain.serving.unreadable import placed
from drivetrain.store.record import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivetrain.serving.service import Service
    from drivetrain.store.store import Store


class Client:
    """Asks the versions of a service that answer now; nothing is logged.

    The version's own code is loaded, as the server does it: its parts must stand in a file.
    """

    def __init__(self, store: Store, service: Service) -> None:
        self._terms = service.terms()
        want = wanted(store.ledger, self._terms.name, self._terms.model)
        live, problem = load(store, want, None)
        if live is None:
            raise NotFound(
                kind="champion",
                name=self._terms.model,
                remedy=problem or "run the system with its gate first, and see what the gate said",
            )
        self._live = live

    @property
    def fields(self) -> list[str]:
        """The fields of a request."""
        return self._live.reader.names

    def predict(self, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Any:
        """Return the answer to one row, or the list of answers to several, as JSON gives them.

        Raises:
            RequestError: a row does not fit the signature, or the model failed on it; `problems` names each field.
        """
        return self.send(msgspec.json.encode(rows))

    def send(self, body: bytes) -> Any:
        """Return the answer to a body as it stands; see `predict`."""
        batch, single = Batch(self._live), not body.lstrip().startswith(b"[")
        if single:
            batch.add([self._live.reader.one(body)], [msgspec.Raw(body)], "one")
        else:
            rows, texts = self._live.reader.many(body, limit=self._terms.max_rows)
            if not rows:
                return []
            batch.add(rows, texts, "many")
        batch.names = [new_id("pred") for _ in batch.rows]
        parts, failures = answered(batch, self._terms.max_batch)
        (reply,) = replies(batch, parts, failures)
        if isinstance(reply, Failure):
            raise placed(reply.error(), self._live.reader, batch.rows)
        assert isinstance(reply, str)
        told = msgspec.json.decode(reply)
        return told if single else told["predictions"]
