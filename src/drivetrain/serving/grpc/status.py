"""Errors as statuses of gRPC, with the problems in the form that its clients know."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import grpc

from drivetrain.serving.grpc.proto import Protos

if TYPE_CHECKING:
    from drivetrain.errors import RequestError

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_TYPES = "type.googleapis.com/google.rpc."


@cache
def _protos() -> Protos:
    return Protos({"status.proto": (files(__package__) / "status.proto").read_text("utf-8")})


def code_of(error: RequestError) -> Any:
    """Return the status code of gRPC for an error."""
    return _CODES.get(error.status, grpc.StatusCode.INTERNAL)


def trailers_of(error: RequestError) -> tuple[tuple[str, str | bytes], ...]:
    """Return what goes back beside code and message: the problems, the id in the log, and when to come back."""
    trailers: list[tuple[str, str | bytes]] = []
    if error.status == 503:
        trailers.append(("grpc-retry-pushback-ms", str(error.retry_after_s * 1000)))
    if error.problems or error.error_id:
        message = _protos().message
        status = message("google.rpc.Status")(code=code_of(error).value[0], message=message_of(error))
        if error.problems:
            violations = [{"field": place_of(each), "description": told(each)} for each in error.problems]
            found = message("google.rpc.BadRequest")(field_violations=violations)
            status.details.add(type_url=f"{_TYPES}BadRequest", value=found.SerializeToString())
        if error.error_id:
            info = message("google.rpc.ErrorInfo")(
                reason="FAILED", domain="drivetrain", metadata={"error_id": error.error_id}
            )
            status.details.add(type_url=f"{_TYPES}ErrorInfo", value=info.SerializeToString())
        trailers.append(("grpc-status-details-bin", status.SerializeToString()))
    return tuple(trailers)


def message_of(error: RequestError) -> str:
    """Return what is wrong in words: the problems too, since many clients show nothing but the message."""
    shown = "; ".join(f"{place_of(each)}: {told(each)}" for each in error.problems[:3])
    more = f"; and {len(error.problems) - 3} more" if len(error.problems) > 3 else ""
    return f"{error.message}: {shown}{more}" if shown else error.message


def place_of(problem: dict[str, Any]) -> str:
    """Return where a problem is.

    >>> place_of({"row": 0, "field": "wind"})
    'rows[0].wind'
    """
    row, field = problem.get("row"), problem.get("field")
    return ".".join([*([] if row is None else [f"rows[{row}]"]), *([] if field is None else [str(field)])])


def told(problem: dict[str, Any]) -> str:
    """Return what a problem is.

    >>> told({"found": "nothing", "wanted": "a number"})
    'found nothing, wanted a number'
    """
    return f"found {problem.get('found')}, wanted {problem.get('wanted')}"
