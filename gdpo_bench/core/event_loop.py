"""The event loop in which reward functions are awaited: one a process, in a thread of its own, as long as the process.

What rewards keep (clients, locks) belongs to the loop that made it, so the next batch must find the same one; and the
caller may have a loop of its own that is running. A forked process has no thread of its parent's, hence another loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_loops: dict[int, asyncio.AbstractEventLoop] = {}
"""By process."""
_starting = threading.Lock()


def awaited(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives, wherever this is called from; it is cancelled if the caller is interrupted."""
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _loop() -> asyncio.AbstractEventLoop:
    with _starting:
        if os.getpid() not in _loops:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=_keep_running, args=[loop], name="rewards", daemon=True).start()
        return _loops[os.getpid()]


def _keep_running(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop for ever; a reward that exits the process would otherwise end it, and its callers wait in vain."""
    while True:
        try:
            loop.run_forever()
        except SystemExit:
            continue
