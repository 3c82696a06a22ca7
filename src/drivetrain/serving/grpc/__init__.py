"""gRPC beside HTTP, in the same workers: the Open Inference Protocol, and a service typed by the signature."""

from __future__ import annotations

from importlib.util import find_spec

from drivetrain.errors import MissingExtra


def check_installed() -> None:
    """Raise a MissingExtra where gRPC's own library, or that of its messages, is not installed."""
    for library, module in (("grpcio", "grpc"), ("protobuf", "google.protobuf")):
        try:
            found = find_spec(module)
        except ModuleNotFoundError:  # not even the package that the module stands in
            found = None
        if found is None:
            raise MissingExtra(library=library, extra="grpc", purpose="answering over gRPC")
