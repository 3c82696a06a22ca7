"""The folder of an input, and the files below it that its rows may name by their path."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from drivetrain.serving.batch.text import MOST_BYTES


class Folder:
    """Reads files below a folder, here or in a bucket, and none elsewhere; an input without one has an empty `root`."""

    def __init__(self, root: str) -> None:
        self._root = root

    def read(self, name: str) -> bytes:
        """Return the bytes of a file by its path in the folder.

        Raises:
            ValueError: there is none, or the path leads elsewhere; the text says what was found.
            StoreUnavailable: the bucket cannot be reached.

        >>> Folder("/data/photos").read("../secrets.png")
        Traceback (most recent call last):
        ...
        ValueError: '../secrets.png', which leads out of the input's folder
        """
        shown = repr(name if len(name) <= 100 else f"{name[:99]}…")
        if "://" in name:
            raise ValueError(f"{shown}, an address, and only files below the input's folder are read")
        if not self._root:
            raise ValueError(f"{shown}, and the input has no folder that a path could be of")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{shown}, which leads out of the input's folder")
        read = self._of_bucket if "://" in self._root else self._local
        found = None if "\0" in name else read(path)
        if found is None:
            raise ValueError(f"{shown}, and there is no such file in the input's folder")
        if isinstance(found, int):
            raise ValueError(f"{shown}, a file of {found:,} bytes, and at most {MOST_BYTES:,} are read")
        return found

    def _local(self, path: PurePosixPath) -> bytes | int | None:
        """Return the bytes of a file, how many it has where those are too many, or None where there is none."""
        try:
            root = Path(self._root).resolve()
            full = (root / path).resolve()
            if not full.is_relative_to(root):
                raise ValueError(f"{str(path)!r}, a link that leads out of the input's folder")
            if not full.is_file():
                return None
            size = full.stat().st_size
            return full.read_bytes() if size <= MOST_BYTES else size
        except OSError as error:
            raise ValueError(f"{str(path)!r}, which cannot be read: {error.strerror}") from error

    def _of_bucket(self, path: PurePosixPath) -> bytes | int | None:
        from drivetrain.serving.batch.obstore import got, size_of

        url = f"{self._root}/{path}"
        size = size_of(url)
        return got(url) if size is not None and size <= MOST_BYTES else size
