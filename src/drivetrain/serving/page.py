"""The page of a service: its schema, how to call it, and a form to try it. One file, with nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from drivetrain.serving.openapi import description, example_request
from drivetrain.serving.requests import wanted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drivetrain.registry.version import Signature
    from drivetrain.serving.counters import Totals
    from drivetrain.serving.live import Live
    from drivetrain.serving.route import Route
    from drivetrain.serving.service import Terms

# The page itself puts the address there that it was asked at.
_ORIGIN = '<span class="origin">http://127.0.0.1:8000</span>'


def page(
    service: Terms, live: Live | None, problem: str, routes: Sequence[Route], totals: Totals, *, is_listed: bool = False
) -> str:
    """Return the page, whether or not there is a version to answer with; `totals` are what the workers have done.

    One that `is_listed` leads to the page of all services of the server, which is above it.
    """
    links = {"OpenAPI": "openapi.json", "Metrics": "metrics", "Readiness": "readyz", "Versions": "version"}
    if is_listed:
        links = {"All services": "../"} | links
    if live is None:
        return filled(service.name, badge("bad", "not ready"), escape(problem or silent(service)), "", links)
    signature = live.champion.version.signature
    badges = answering(live)
    if service.cache is not None:
        share = (
            f"<b>{totals.cache_known / totals.cache_rows:.1%}</b> of {totals.cache_rows:,}"
            if totals.cache_rows
            else "no"
        )
        badges += badge("", f"{share} rows answered from what is known")
    if problem:
        badges += badge("bad", escape(problem))
    return filled(service.name, badges, summary(service, signature), _body(service, live, routes), links)


def silent(service: Terms) -> str:
    """Return why nothing answers where nothing is amiss."""
    return f"{service.model} has no champion yet: run the pipeline, and this page comes to life"


def answering(live: Live) -> str:
    """Return which versions answer."""
    told = badge("good", f"<b>{escape(live.champion.version.id)}</b> answers")
    if live.challenger is not None:
        told += badge("", f"<b>{escape(live.challenger.version.id)}</b> answers {live.want.share:.0%} as canary")
    return told


@cache
def _template() -> str:
    return (Path(__file__).parent / "page.html").read_text(encoding="utf-8")


def filled(title: str, badges: str, told: str, body: str, links: Mapping[str, str]) -> str:
    """Return a page; `links` at its foot lead elsewhere, each from the folder that the page is in."""
    nav = "".join(f'<a href="{path}">{text}</a>' for text, path in links.items())
    text = _template().replace("%title%", escape(title)).replace("%badges%", badges)
    return text.replace("%summary%", told).replace("%nav%", nav).replace("%body%", body)


def badge(kind: str, text: str) -> str:
    """Return a word or two that stand out; of the kind `good` or `bad`, or of none."""
    return f'<span class="badge {kind}">{text}</span>'


def summary(service: Terms, signature: Signature) -> str:
    """Return what the model says about itself, and in a sentence what a version of it gives."""
    return " ".join(filter(None, (escape(service.about), _given(signature))))


def _given(signature: Signature) -> str:
    label = f"<code>{escape(signature.label)}</code>"
    if signature.task == "binary":
        return f"Gives the probability that {label} is <code>{escape(_json(signature.classes[-1]))}</code>."
    if signature.task == "multiclass":
        return f"Tells which of {len(signature.classes)} classes {label} is, and how probable each of them is."
    if signature.task == "values":
        given = ", ".join(f"<code>{escape(column.name)}</code>" for column in signature.outputs)
        return f"Gives {given}{', piece by piece' if signature.streams else ''}."
    return f"Estimates {label}."


def forms_of(service: Terms, live: Live, routes: Sequence[Route]) -> list[dict[str, str]]:
    """Return each example of a request that can be written as text: its name, path, type and body."""
    found = []
    shown = [route for route in routes if "{version}" not in route.path]  # they are asked as without a version
    for path, methods in description(service, live, shown)["paths"].items():
        for operation in methods.values():
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                for name, example in content.get("examples", {}).items():
                    value = example["value"]
                    body = value if isinstance(value, str) else _pretty(value)
                    for parameter in operation.get("parameters", []):
                        path = path.replace(f"{{{parameter['name']}}}", parameter["schema"]["enum"][0])
                    short = kind.rpartition("/")[2].removeprefix("x-")
                    found.append({"name": f"{path} · {short} · {name}", "path": path, "type": kind, "body": body})
    return found


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _body(service: Terms, live: Live, routes: Sequence[Route]) -> str:
    example = example_request(live)
    forms = sorted(forms_of(service, live, routes), key=lambda form: form["path"] != "/predict")
    data = _json(forms).replace("<", "\\u003c")  # nothing in it ends the script
    options = "".join(f"<option>{escape(form['name'])}</option>" for form in forms)
    signature = live.champion.version.signature
    label = "…" if signature.task == "values" else (signature.classes[-1:] or [1.0])[0]
    feedback = _json({"id": "pred-…", "label": label})
    rows = "".join(
        f'<tr><td class="name">{escape(column.name)}</td><td>{escape(wanted(column))}'
        f"{', or left out' if may_lack else ''}</td>"
        f'<td class="name">{escape(_json(example.get(column.name)))}</td></tr>'
        for column, may_lack in zip(live.reader.columns, live.reader.may_lack, strict=True)
    )
    return f"""
<h2 id="try">Try it</h2>
<div class="row"><label for="form">Form</label><select id="form">{options}</select></div>
<script type="application/json" id="forms">{data}</script>
<div class="try">
<textarea id="request" spellcheck="false" aria-label="The request">{escape(forms[0]["body"])}</textarea>
<pre id="reply" class="card" aria-live="polite" aria-label="The answer"></pre>
</div>
<div class="row"><button id="send">Send</button><button id="reset" class="plain">Example again</button>
<span id="status" class="soft" role="status"></span></div>
<h2>From a program</h2>
<div class="card"><pre><code id="curl"></code></pre></div>
<p class="soft">Arrow and Parquet are read as well, and the clients of Triton, KServe and MLflow work as they are.
When the truth is known, send it:</p>
<div class="card"><pre><code>curl -s {_ORIGIN}/feedback -H 'content-type: application/json' \\
  -d '{escape(feedback)}'</code></pre></div>
<h2>What it takes</h2>
<div class="card"><table><tr><th>field</th><th>takes</th><th>for example</th></tr>{rows}</table></div>"""


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
