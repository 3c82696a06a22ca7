"""Reads HTTP/1.1 answers as far as a load test needs: the status, where the answer ends, and how a refusal begins."""

from __future__ import annotations

# Of a refusal so much is kept to be shown.
EXCERPT_BYTES = 300


class Answer:
    r"""One answer as it arrives; `feed` says whether it is whole.

    >>> answer = Answer()
    >>> answer.feed(b"HTTP/1.1 200 OK\r\nContent-Le"), answer.feed(b"ngth: 2\r\n\r\n{"), answer.feed(b"}")
    (False, False, True)
    >>> answer.status, answer.stays_open
    (200, True)
    """

    __slots__ = ("_chunked", "_data", "_end", "_start", "_until_close", "status", "stays_open")

    def __init__(self) -> None:
        self._data = b""
        self.status = 0
        self.stays_open = True
        # Where the body begins and ends in the data; the end is unknown in chunks, or until the connection closes.
        self._start = self._end = 0
        self._chunked = self._until_close = False

    @property
    def is_begun(self) -> bool:
        """Whether anything has come."""
        return bool(self._data)

    @property
    def data(self) -> bytes:
        """What has come so far, head and body."""
        return self._data

    @property
    def ends_with_connection(self) -> bool:
        """Whether the end of the connection is the end of the answer."""
        return self._until_close

    def feed(self, data: bytes) -> bool:
        """Take what has arrived, and return whether the answer is whole.

        Raises:
            ValueError: it is no answer.
        """
        self._data = data = self._data + data if self._data else data
        if not self.status and not self._head(data):
            return False
        if self._chunked:
            return self._chunks()
        return not self._until_close and len(data) >= self._end

    def excerpt(self) -> str:
        """Return how the body begins."""
        return self._data[self._start : self._start + EXCERPT_BYTES].decode(errors="replace")

    def _head(self, data: bytes) -> bool:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if not b"HTTP/1.".startswith(data[:7]):
                raise ValueError(f"it begins with {data[:20]!r}")
            return False
        if not data.startswith(b"HTTP/1."):
            raise ValueError(f"it begins with {data[:20]!r}")
        status = int(data[9:12])
        head = data[:end].lower() + b"\r\n"
        if status < 200 and status != 101:  # an interim answer, such as 100 Continue
            self._data = data[end + 4 :]
            return bool(self._data) and self._head(self._data)
        self._start = end + 4
        place = head.find(b"\r\ncontent-length:")
        if place >= 0:
            self._end = self._start + int(head[place + 17 : head.index(b"\r\n", place + 17)])
        elif b"\r\ntransfer-encoding:" in head:
            self._chunked = True
        elif status in (204, 304):
            self._end = self._start
        else:
            self._until_close = True
        self.status = status
        is_old = data.startswith(b"HTTP/1.0") and b"\r\nconnection: keep-alive" not in head
        self.stays_open = not (self._until_close or is_old or b"\r\nconnection: close" in head)
        self._end = self._end or self._start
        return True

    def _chunks(self) -> bool:
        while True:
            line = self._data.find(b"\r\n", self._end)
            if line < 0:
                return False
            try:
                size = int(self._data[self._end : line].partition(b";")[0], 16)
            except ValueError as error:
                raise ValueError(f"a chunk without its size: {error}") from None
            if size == 0:
                # What may follow, trailers, ends with an empty line.
                return self._data.startswith(b"\r\n", line + 2) or self._data.find(b"\r\n\r\n", line) >= 0
            if len(self._data) < line + size + 4:
                return False
            self._end = line + 2 + size + 2
