"""Makes the fast builds of a model, and compares what each answers with what the model itself does."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from drivetrain.training.builds.build import MANY, Build, Builds, Pace
from drivetrain.training.builds.form import FORMS, form_named, takes_rows
from drivetrain.training.onnx import TOLERANCE
from drivetrain.training.predict import predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from drivetrain.store.files import FileArtifacts
    from drivetrain.training.builds.form import Running
    from drivetrain.training.signature import Signature

# No real category is this.
_UNSEEN = "\N{REPLACEMENT CHARACTER}"
# So many rows get their 32-bit numbers moved to the next one.
_MOVED_ROWS = 2_000
# So long one timing may take, over at least three rounds.
_TIMED_S = 0.1


def builds_for(model: Any, signature: Signature, rows: pl.DataFrame, artifacts: FileArtifacts) -> Builds | None:
    """Return the fast builds of a model, each compared with it on real rows; None where there is no form for it.

    Beside the real rows, made-up ones are compared: with a missing value and with an unseen category, a column each,
    and with each 32-bit number moved to its neighbour. Only the file of a build that answers the same is kept. It never
    raises: where there is no build, `reason` says why.
    """
    forms = {name: form for name in FORMS if (form := form_named(name)).takes(model, signature)}
    if not forms or rows.is_empty():
        return None
    real = rows.select([column.name for column in signature.features])
    try:
        comparison = Comparison(model, signature, real)
    except Exception as error:  # the model is the user's, and may raise anything
        return Builds(
            tried=[Build(form=name, reason=f"the original does not answer: {_said(error)}") for name in forms]
        )
    tried = []
    for name, form in forms.items():
        scratch = artifacts.scratch_path()
        try:
            scratch.write_bytes(form.written(model, signature))
            build = comparison.of(name, form.opened(scratch, signature))
            if not build.reason:
                build = msgspec.structs.replace(build, digest=artifacts.adopt(scratch))
        except ImportError as error:
            build = Build(form=name, reason=f"{error.name} is not installed")
        except Exception as error:  # converters raise all kinds for a model or step that they do not know
            build = Build(form=name, reason=f"it cannot be built or run: {_said(error)}")
        finally:
            artifacts.discard(scratch)
        tried.append(build)
    return Builds(original=comparison.original, tried=tried)


class Comparison:
    """What a model answers to real and made-up rows, and how long it takes, to hold builds against.

    Raises:
        Exception: the model does not answer the real rows.
    """

    def __init__(self, model: Any, signature: Signature, real: pl.DataFrame) -> None:
        self._signature, self._real = signature, real
        made_up = [*_odd(model, signature, real), *_moved(real)]
        self._rows = pl.concat([real, *made_up], how="vertical_relaxed")
        self._told = predictions(model, self._rows, signature)
        self._few = (real.head(1).rows(), real.head(MANY).rows())
        schema = real.schema

        def answer(few: list[tuple[Any, ...]]) -> None:
            predictions(model, pl.DataFrame(few, schema=schema, orient="row"), signature)

        self.original = self._pace(answer)

    def of(self, name: str, running: Running) -> Build:
        """Return what comes of comparing a build, without a digest yet."""
        asked = [running.scores_of(self._rows)]
        if takes_rows(self._signature):
            asked.append(running.scores(self._rows.rows()))
        difference = np.max([self._difference(each) for each in asked], axis=0)  # (rows,)
        differing = int((difference > TOLERANCE).sum())
        build = Build(
            form=name,
            rows=self._real.height,
            made_up_rows=self._rows.height - self._real.height,
            differing_rows=differing,
            largest_difference=float(min(difference.max(initial=0.0), 1e300)),
            pace=self._pace(running.scores) if takes_rows(self._signature) else None,
        )
        if differing:
            return msgspec.structs.replace(build, reason=build.evidence)
        if build.pace and build.pace.times(self.original) < 1:
            return msgspec.structs.replace(build, reason="it is slower than the original")
        return build

    def _difference(self, found: NDArray[Any]) -> NDArray[Any]:
        """Return how far the answer to each row is off, above 1 as a share."""
        built = np.asarray(found, dtype=np.float64)
        if built.ndim == 2 and self._told.ndim == 1:
            built = built[:, -1]
        difference = np.abs(self._told - built) / np.maximum(1.0, np.abs(self._told))
        # A NaN on either side counts as a difference, unless it is on both.
        both = np.isnan(self._told) & np.isnan(built)
        difference = np.where(both, 0.0, np.nan_to_num(difference, nan=np.inf))
        by_row: NDArray[Any] = difference.reshape(len(difference), -1).max(axis=1)
        return by_row

    def _pace(self, answer: Callable[[Any], object]) -> Pace:
        one, many = (_least_seconds(answer, rows) for rows in self._few)
        return Pace(one_row_s=one, many_rows_s=many)


def _least_seconds(answer: Callable[[Any], object], rows: Any) -> float:
    answer(rows)
    least, rounds, until = float("inf"), 0, perf_counter() + _TIMED_S
    while rounds < 3 or (perf_counter() < until and rounds < 100):
        started = perf_counter()
        answer(rows)
        least = min(least, perf_counter() - started)
        rounds += 1
    return least


def _odd(model: Any, signature: Signature, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield, for each column, a row without it, and one with text that was never seen.

    An odd row that the original itself refuses is left out: no server will be asked to answer it.
    """
    for column in signature.features:
        for value in (None, _UNSEEN) if column.kind == "str" else (None,):
            if value is None and not column.nullable:
                continue
            dtype = pl.String if column.kind == "str" else rows[column.name].dtype
            odd = rows.head(1).with_columns(pl.lit(value, dtype=dtype).alias(column.name))
            try:
                predictions(model, odd, signature)
            except Exception:  # noqa: S112  # whatever it raises, it refuses
                continue
            yield odd


def _moved(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield rows whose 32-bit numbers are those beside the real ones, which learners like to take for thresholds.

    A 64-bit number beside a real one is not told from it in 32 bits, and hardly ever asked about.
    """
    names = [name for name, dtype in rows.schema.items() if dtype == pl.Float32]
    if not names:
        return
    few = rows.head(_MOVED_ROWS)
    for towards in (-np.inf, np.inf):
        with np.errstate(over="ignore"):
            moved = [
                pl.Series(name, np.nextafter(few[name].to_numpy(), np.float32(towards)), nan_to_null=True)
                for name in names
            ]
        kept = [each.set(few[each.name].is_nan().fill_null(value=False), float("nan")) for each in moved]
        yield few.with_columns(kept)


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
