"""The page of a server of several services: which there are, and the way to the page of each."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from drivetrain.serving.page import answering, badge, filled, silent, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drivetrain.serving.desk import Desk

_HEADS = "<tr><th>service</th><th>version</th><th></th></tr>"


def listing(desks: Sequence[Desk]) -> str:
    """Return the page; it leads on by relative addresses, so that it may stand behind a proxy."""
    waiting = sum(desk.answering is None for desk in desks)
    state = badge("bad", f"{waiting} not ready") if waiting else badge("good", "all ready")
    told = "Each service is asked below its name. Its page has a form to try it, and its description for programs."
    body = f'<div class="card"><table>{_HEADS}{"".join(map(_row, desks))}</table></div>'
    return filled("Services", state, told, body, {"Metrics": "metrics", "Readiness": "readyz"})


def _row(desk: Desk) -> str:
    name, live = escape(desk.service.name), desk.answering
    if live is None:
        state, told = badge("bad", "not ready"), escape(desk.problem or silent(desk.service))
    else:
        state, told = answering(live), summary(desk.service, live.champion.version.signature)
    return f'<tr><td class="name"><a href="{name}/">{name}</a></td><td>{state}</td><td>{told}</td></tr>'
