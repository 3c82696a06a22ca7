"""Text as UTF-8, line ends and all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.errors import Unkeepable
from drivetrain.store.codecs.codec import Written

if TYPE_CHECKING:
    from pathlib import Path


class TextCodec:
    """Keeps str."""

    formats = frozenset({"text", "html"})
    shares = True

    def write(self, value: Any, path: Path) -> Written:
        try:
            path.write_bytes(value.encode())
        except UnicodeEncodeError as error:
            raise Unkeepable(
                found=f"text that is not Unicode: {error}", right="decode it with errors='replace'"
            ) from error
        return Written("text")

    def read(self, path: Path, form: Any) -> str:
        return path.read_bytes().decode()


CODEC = TextCodec()
