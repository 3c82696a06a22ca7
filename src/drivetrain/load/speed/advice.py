"""What follows from where the time goes: one to three conclusions, each with what to do next."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from drivetrain.training.builds import Builds, builds_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivetrain.load.speed.explanation import Explanation, Load
    from drivetrain.load.speed.trace import Stage
    from drivetrain.registry.version import Version

MOST = 3
NETWORK: tuple[Stage, ...] = ("way in", "way out")
SHAPING: tuple[Stage, ...] = ("table", "features")
QUEUES: tuple[Stage, ...] = ("way in", "body", "waiting", "turn")
"""The stages in which a request waits for others, where there are others."""

# From these shares on a stage is worth a word.
_MODEL, _LOG, _QUEUES = 0.1, 0.15, 0.4
# A worker that keeps so much of a processor busy is at its limit, as far as clients on the same machine let it be seen.
_BUSY = 0.8


def conclusions(found: Explanation, version: Version) -> list[str]:
    """Return what follows, the most important first."""
    alone, loaded = found.loads[0], found.loads[-1]
    told = [_largest(found, version, alone), *_slow_build(found, version, alone)]
    if loaded is not alone:
        told += _refused(loaded)
        told += _queues(found, loaded)
    told += _log(alone)
    return told[:MOST]


def _largest(found: Explanation, version: Version, load: Load) -> str:
    """Return what takes the largest part of a request that comes alone."""
    shaping, model, network = (load.p50.share(*stages) for stages in (SHAPING, ("model",), NETWORK))
    own = 1 - shaping - model - network
    if shaping == max(shaping, model, network, own):
        return _of_shaping(found, version, load, shaping)
    if model == max(model, network, own):
        return _of_model(found, version, load, model)
    taken = _time(sum(load.p50.stages_us[stage] for stage in (*SHAPING, "model")))
    return (
        f"{network + own:.0%} of a request is its way through the network and the server, and only {taken} are the "
        "model's → send several rows in one request, and keep connections open"
    )


def _of_shaping(found: Explanation, version: Version, load: Load, share: float) -> str:
    taken = _time(load.p50.stages_us["table"] + load.p50.stages_us["features"])
    if not version.features:
        return (
            f"{share:.0%} of a request ({taken}) is making a table of its row, which the original form of the model "
            "needs → a model with an ONNX build takes rows as they are"
        )
    return (
        f"{share:.0%} of a request ({taken}) is the features function `{version.features}` → let a dataset prepare "
        f"what the request has no part in, and use fewer expressions and joins{_together(found)}"
    )


def _of_model(found: Explanation, version: Version, load: Load, share: float) -> str:
    taken = _time(load.p50.stages_us["model"])
    if not found.batches:
        return (
            f"{share:.0%} of a request ({taken}) is waiting for what the model itself asks → make that faster; other "
            "requests are answered meanwhile"
        )
    if found.slow_because:
        return (
            f"{share:.0%} of a request ({taken}) is the model, in its original form since {found.slow_because} → "
            f"{_mend(version)}"
        )
    if version.signature.task == "values":
        return (
            f"{share:.0%} of a request ({taken}) is the model `{version.model}` itself → take several rows at once in "
            f"it, prepare in `load` what is the same for all, or choose a smaller model{_together(found)}"
        )
    return (
        f"{share:.0%} of a request ({taken}) is the model, in its fast build → fewer or smaller trees or layers, or "
        f"fewer features{_together(found)}"
    )


def _slow_build(found: Explanation, version: Version, load: Load) -> Iterator[str]:
    if found.slow_because and _MODEL <= load.p50.share("model") < load.p50.share(*SHAPING):
        taken = _time(load.p50.stages_us["model"])
        yield f"the model ({taken}) runs in its original form since {found.slow_because} → {_mend(version)}"


def _mend(version: Version) -> str:
    builds = builds_of(version.artifact) or Builds()
    if any(build.differing_rows for build in builds.tried):
        return f"`drivetrain models` has the figures of {version.id}; inputs in 64 bits are often what differs"
    if builds.ranked():
        return "install it where the service runs"
    return "an estimator that can be converted answers faster"


def _refused(load: Load) -> Iterator[str]:
    if load.failures:
        told = ", ".join(f"{count:,} times {name}" for name, count in load.failures.items())
        yield (
            f"with {load.connections} connections some requests were not answered ({told}) → more workers, or other "
            "limits in dt.Service"
        )


def _queues(found: Explanation, load: Load) -> Iterator[str]:
    share = load.p50.share(*QUEUES)
    if share < _QUEUES or load.processors < _BUSY:
        return
    processors = os.cpu_count() or 1
    what = f"`drivetrain serve --workers {processors}`" if found.workers < processors else "more machines"
    each = "its worker is" if found.workers == 1 else f"its {found.workers} workers are each"
    yield (
        f"with {load.connections} connections {share:.0%} of a request is waiting for others: {each} busy "
        f"({load.processors:.0%} of a processor) at {load.answers_per_s:,.0f} answers a second → {what}, or less work "
        "a request"
    )


def _log(load: Load) -> Iterator[str]:
    share = load.p50.share("log")
    if share >= _LOG:
        taken = _time(load.p50.stages_us["log"])
        yield f"{share:.0%} of a request ({taken}) is the log → keep the store on a faster disk"


def _together(found: Explanation) -> str:
    """Return by how much several rows in one request are cheaper; empty where they are not."""
    one, many = found.batches[0], found.batches[-1]
    if not one.ms <= many.ms <= many.rows * one.ms / 2:  # on a busy machine the curve may even fall
        return ""
    return f"; {many.rows} rows in one request take {many.ms / one.ms:.2g} times as long as one"


def _time(microseconds: float) -> str:
    return f"{microseconds / 1e3:,.3g} ms" if microseconds >= 1000 else f"{microseconds:.3g} µs"
