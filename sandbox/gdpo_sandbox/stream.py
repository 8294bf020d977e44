"""A container's standard input and output, over the engine's attach stream."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

_CHUNK_HEADER = struct.Struct(">BxxxI")
"""Before each chunk: 1 for stdout or 2 for stderr, and its length."""
_STDOUT = 1
_LAST_WORDS = 2_000


class AttachStream:
    """Both directions, with a time limit on each read and write.

    Args:
        attached: What `attach_socket` of the docker SDK returns: a socket, TLS or SSH channel, or a file around one.
    """

    def __init__(self, attached: Any) -> None:
        self._attached = attached  # when it is collected, the connection is closed
        self._socket = getattr(attached, "_sock", attached)
        self._buffer = bytearray()
        self._stderr = b""

    @property
    def last_words(self) -> str:
        """The end of what came on stderr: nothing, unless the worker itself failed."""
        return self._stderr.decode("utf-8", "replace").strip()

    def set_timeout(self, seconds: float) -> None:
        """Limit how long each later read or write may take."""
        self._socket.settimeout(seconds)

    def write(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            OSError: Also TimeoutError, which is one.
        """
        self._socket.sendall(data)

    def read(self) -> bytes:
        """What comes next on stdout; no bytes at the end.

        Raises:
            OSError: Also TimeoutError, which is one.
        """
        while True:
            header = self._take(_CHUNK_HEADER.size)
            if len(header) < _CHUNK_HEADER.size:
                return b""
            source, length = _CHUNK_HEADER.unpack(header)
            data = self._take(length)
            if source == _STDOUT:
                return data
            self._stderr = (self._stderr + data)[-_LAST_WORDS:]

    def close(self) -> None:
        """End the connection, also for forked copies of this process and for a thread that waits in `read`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self.release()

    def release(self) -> None:
        """Give up this process's part in the connection."""
        with contextlib.suppress(OSError):
            self._socket.close()
            self._attached.close()

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = self._socket.recv(1 << 20)
            if not data:
                break
            self._buffer += data
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken
