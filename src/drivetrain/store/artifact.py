"""An artifact: immutable bytes with a digest, and what is known of them."""

from __future__ import annotations

from typing import Any

import msgspec

from drivetrain.store.digest import Digest


class Artifact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a step gave: where its bytes are, in which form, and what describes them.

    `format` is the name of the form on disk (`parquet`, `json`, `npy`, `skops`, `onnx`, …). `rows` is the number of
    rows of a table. `detail` holds what the part that made it wants to be known without reading the bytes, such as
    the schema of a dataset or the digest of its profile.
    """

    digest: Digest
    format: str
    size_bytes: int
    type_name: str = ""
    rows: int | None = None
    detail: dict[str, Any] = {}
