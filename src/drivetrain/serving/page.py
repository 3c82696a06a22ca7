"""The page of a service: its schema, how to call it, and a form to try it. One file, with nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.serving.openapi import example_request
from drivetrain.serving.requests import wanted

if TYPE_CHECKING:
    from drivetrain.registry.version import Signature
    from drivetrain.serving.live import Live
    from drivetrain.serving.service import Terms

# The page itself puts the address there that it was asked at.
_ORIGIN = '<span class="origin">http://127.0.0.1:8000</span>'


def page(service: Terms, live: Live | None, problem: str) -> str:
    """Return the page, whether or not there is a version to answer with."""
    if live is None:
        reason = problem or f"{service.model} has no champion yet: run the pipeline, and this page comes to life"
        return _filled(service.name, _badge("bad", "not ready"), escape(reason), "")
    signature = live.champion.version.signature
    badges = _badge("good", f"<b>{escape(live.champion.version.id)}</b> answers")
    if live.challenger is not None:
        badges += _badge("", f"<b>{escape(live.challenger.version.id)}</b> answers {live.want.share:.0%} as canary")
    if problem:
        badges += _badge("bad", escape(problem))
    return _filled(service.name, badges, _summary(signature), _body(live))


@cache
def _template() -> str:
    return (Path(__file__).parent / "page.html").read_text(encoding="utf-8")


def _filled(name: str, badges: str, summary: str, body: str) -> str:
    text = _template().replace("%service%", escape(name)).replace("%badges%", badges)
    return text.replace("%summary%", summary).replace("%body%", body)


def _badge(kind: str, text: str) -> str:
    return f'<span class="badge {kind}">{text}</span>'


def _summary(signature: Signature) -> str:
    label = f"<code>{escape(signature.label)}</code>"
    if signature.task == "binary":
        return f"Gives the probability that {label} is <code>{escape(_json(signature.classes[-1]))}</code>."
    if signature.task == "multiclass":
        return f"Tells which of {len(signature.classes)} classes {label} is, and how probable each of them is."
    if signature.task == "values":
        given = ", ".join(f"<code>{escape(column.name)}</code>" for column in signature.outputs)
        return f"Gives {given}{', piece by piece' if signature.streams else ''}."
    return f"Estimates {label}."


def _body(live: Live) -> str:
    example = example_request(live)
    short = _json(example)
    pretty = msgspec.json.format(msgspec.json.encode(example), indent=2).decode()
    label = live.champion.version.signature.classes[-1:] or [1.0]
    feedback = _json({"id": "pred-…", "label": label[0]})
    quoted = short.replace("'", "'\\''")
    rows = "".join(
        f'<tr><td class="name">{escape(column.name)}</td><td>{escape(wanted(column))}'
        f"{', or left out' if may_lack else ''}</td>"
        f'<td class="name">{escape(_json(example.get(column.name)))}</td></tr>'
        for column, may_lack in zip(live.reader.columns, live.reader.may_lack, strict=True)
    )
    return f"""
<h2 id="try">Try it</h2>
<div class="try">
<textarea id="request" spellcheck="false" aria-label="The request">{escape(pretty)}</textarea>
<pre id="reply" class="card" aria-live="polite" aria-label="The answer"></pre>
</div>
<div class="row"><button id="send">Predict</button><button id="reset" class="plain">Example again</button>
<span id="status" class="soft" role="status"></span></div>
<h2>From a program</h2>
<div class="card"><pre><code>curl -s {_ORIGIN}/predict -H 'content-type: application/json' \\
  -d '{escape(quoted)}'</code></pre></div>
<p class="soft">An array of such objects is answered as one batch. When the truth is known, send it:</p>
<div class="card"><pre><code>curl -s {_ORIGIN}/feedback -H 'content-type: application/json' \\
  -d '{escape(feedback)}'</code></pre></div>
<h2>What it takes</h2>
<div class="card"><table><tr><th>field</th><th>takes</th><th>for example</th></tr>{rows}</table></div>"""


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
