"""Server reflection: how grpcurl and its like learn which services, methods and messages there are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from drivetrain.serving.grpc.method import Context, Method, read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from drivetrain.serving.grpc.proto import Protos

VERSIONS = ("v1", "v1alpha")
_NOT_FOUND = 5


class Reflection:
    """Describes what a server answers now: `described` gives the messages, those of the signature among them."""

    def __init__(self, protos: Protos, described: Callable[[], list[Protos]]) -> None:
        self._protos, self._described = protos, described

    def methods(self) -> dict[str, Method]:
        """Return what it answers: the protocol's version 1, and the one before, which many tools still speak."""
        return {
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo": Method(
                stream=partial(self.told, version)
            )
            for version in VERSIONS
        }

    async def told(self, version: str, given: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Answer each question of a client."""
        package = f"grpc.reflection.{version}"
        async for message in given:
            request = read(self._protos, f"{package}.ServerReflectionRequest", message)
            response = self._protos.message(f"{package}.ServerReflectionResponse")(
                valid_host=request.host, original_request=request
            )
            self._answer(request, response)
            yield response.SerializeToString()

    def _answer(self, request: Any, response: Any) -> None:
        asked = request.WhichOneof("message_request")
        if asked == "list_services":
            names = sorted({name for protos in self._described() for name in protos.services()})
            for name in names:
                response.list_services_response.service.add(name=name)
            return
        for protos in self._described():
            try:
                if asked == "file_containing_symbol":
                    found = protos.file_with(request.file_containing_symbol)
                elif asked == "file_by_filename":
                    found = protos.file_named(request.file_by_filename)
                else:
                    break
            except KeyError:
                continue
            response.file_descriptor_response.file_descriptor_proto.append(found)
            return
        response.error_response.error_code = _NOT_FOUND
        response.error_response.error_message = "there is nothing of this name here, and nothing has extensions"
