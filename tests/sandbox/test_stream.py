"""Frames over the engine's stream, however it is cut into pieces."""

import socket
import struct
from collections.abc import Iterator

import pytest
from gdpo_sandbox.image.worker.frames import ClosedError, FrameReader, pack, pack_json
from gdpo_sandbox.stream import AttachStream
from hypothesis import given
from hypothesis import strategies as st


def chunk(data: bytes, source: int = 1) -> bytes:
    return struct.pack(">BxxxI", source, len(data)) + data


@given(st.lists(st.binary(max_size=50)), st.integers(1, 20))
def test_frames_come_back_from_pieces_of_any_size(contents: list[bytes], size: int) -> None:
    data = b"".join(map(pack, contents))
    pieces = iter([data[start : start + size] for start in range(0, len(data), size)])
    frames = FrameReader(lambda: next(pieces, b""))
    assert [frames.next() for _ in contents] == contents
    with pytest.raises(ClosedError):
        frames.next()


def test_a_frame_that_ends_early_or_is_too_long_is_no_frame() -> None:
    pieces = iter([pack(b"12345")[:-1]])
    with pytest.raises(ClosedError):
        FrameReader(lambda: next(pieces, b"")).next()
    with pytest.raises(ValueError, match="at most 4"):
        FrameReader(lambda: pack(b"12345"), max_bytes=4).next()


def test_json_frames_are_ascii() -> None:
    assert pack_json({"é": "\ud800"}).isascii()


@pytest.fixture
def ends() -> Iterator[tuple[AttachStream, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(10)
        yield AttachStream(near), far


def test_stdout_is_read_and_the_end_of_stderr_kept(ends: tuple[AttachStream, socket.socket]) -> None:
    stream, far = ends
    far.sendall(chunk(b"one") + chunk(b"x" * 3_000 + "é".encode(), source=2) + chunk(b"two")[:9])
    assert stream.read() == b"one"
    far.sendall(b"wo")
    assert stream.read() == b"two"
    assert len(stream.last_words) == 1_999
    assert stream.last_words.endswith("xé")


def test_the_stream_ends_even_within_a_header(ends: tuple[AttachStream, socket.socket]) -> None:
    stream, far = ends
    far.sendall(b"\1\0\0")
    far.close()
    assert stream.read() == b""


def test_waiting_is_limited(ends: tuple[AttachStream, socket.socket]) -> None:
    stream, _ = ends
    stream.set_timeout(0.05)
    with pytest.raises(TimeoutError):
        stream.read()
    with pytest.raises(TimeoutError):
        stream.write(b"x" * 10_000_000)
