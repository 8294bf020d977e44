"""How host and dispatcher talk: frames of a length in four bytes and as many bytes of content."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

_LENGTH = struct.Struct(">I")


class ClosedError(EOFError):
    """The stream ended, in the middle of a frame or between two."""


def pack(content: bytes) -> bytes:
    """A frame."""
    return _LENGTH.pack(len(content)) + content


def pack_json(message: Any, blobs: Sequence[bytes] = ()) -> bytes:
    """A frame of JSON, which is one line of ASCII, and of what had better travel as it is.

    Bytes that a program has written take up to ten times their size as text, and as JSON.
    """
    head = json.dumps(message, separators=(",", ":")).encode()
    return b"".join([_LENGTH.pack(len(head) + 1 + sum(map(len, blobs))), head, b"\n", *blobs])


def unpack_json(content: bytes) -> tuple[Any, memoryview]:
    """Message and blobs, one after the other, of what `pack_json` made.

    Raises:
        ValueError: It is no such content.
    """
    end = content.find(b"\n")
    return json.loads(content[:end]), memoryview(content)[end + 1 :]


class FrameReader:
    """Reads frames from a stream of bytes.

    Args:
        read: Returns some of the bytes that come next, at least one, or none at the stream's end.
        max_bytes: A longer frame is refused.
    """

    def __init__(self, read: Callable[[], bytes], max_bytes: int = 1 << 32) -> None:
        self._read = read
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def next(self) -> bytes:
        """Wait for a frame and return its content.

        Raises:
            ClosedError: The stream ended.
            ValueError: The frame is too long.
        """
        while len(self._buffer) < _LENGTH.size:
            self._fill()
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > self._max_bytes:
            raise ValueError(f"A frame of {length} bytes; at most {self._max_bytes} are allowed.")
        end = _LENGTH.size + length
        while len(self._buffer) < end:
            self._fill()
        content = bytes(memoryview(self._buffer)[_LENGTH.size : end])
        del self._buffer[:end]
        return content

    @property
    def pending(self) -> bool:
        """Whether some of the next frame has been read already."""
        return bool(self._buffer)

    def _fill(self) -> None:
        data = self._read()
        if not data:
            raise ClosedError("The stream ended.")
        self._buffer += data
