"""What is kept of an answer to a row: JSON, so that its size is known, and it can be changed by nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from drivetrain.serving.answers import Answers

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Entry(msgspec.Struct, omit_defaults=True, gc=False):
    p: Any
    shares: list[float] | None = None
    # What the model saw, where a features function made it: a value for each feature of the signature.
    seen: list[Any] | None = None
    # What the log keeps of the prediction, where that is not the prediction itself.
    logged: msgspec.Raw | UnsetType = UNSET


_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(_Entry).decode


def entries_of(answers: Answers) -> list[bytes]:
    """Return the entries of answers, one a row.

    >>> entries_of(Answers([0.25]))
    [b'{"p":0.25}']
    """
    predictions, shares = answers.predictions, answers.probabilities
    if shares is None and answers.features is None and answers.logged is None:
        return [_ENCODE(_Entry(each)) for each in predictions]
    frame = answers.features
    assert not isinstance(frame, dict)  # only what was known already has plain columns
    seen = None if frame is None else frame.rows()
    found = []
    for place, prediction in enumerate(predictions):
        entry = _Entry(prediction)
        if shares is not None:
            entry.shares = shares[place]
        if seen is not None:
            entry.seen = list(seen[place])
        if answers.logged is not None:
            logged = _ENCODE(answers.logged[place])
            if logged != _ENCODE(prediction):
                entry.logged = msgspec.Raw(logged)
        found.append(_ENCODE(entry))
    return found


def answers_of(entries: Sequence[bytes], features: Sequence[str] = ()) -> Answers:
    """Return the answers in the entries of some rows of one version; `features` are the names of what it sees.

    >>> answers_of(entries_of(Answers(["Oslo"], [[0.75, 0.25]]))).probabilities
    [[0.75, 0.25]]
    """
    found = [_DECODE(each) for each in entries]
    first = found[0]
    seen = None if first.seen is None else zip(*[each.seen or () for each in found], strict=True)
    return Answers(
        [each.p for each in found],
        None if first.shares is None else [each.shares or [] for each in found],
        None if seen is None else {name: list(values) for name, values in zip(features, seen, strict=True)},
        [each.p if each.logged is UNSET else each.logged for each in found],
    )
