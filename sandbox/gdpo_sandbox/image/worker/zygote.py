"""PID 1: forks a process for each program, waits for it, and reaps orphans. It never reads a program, nor its output.

So a forked process finds in its memory nothing of any other program, and no input of any other test. The dispatcher
asks over a socket:

    F  fork a process for a program, with the files attached that become its descriptors 0 to 4;
       answered when that process has ended, by how it ended and what it used
    E  empty the working directory, as the sandbox's user; answered alike
    R  reap what has ended; answered by how many
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import NoReturn

from . import confine, interpreter
from .child import Child, rehearse
from .dispatcher import Dispatcher
from .process import BOX, EMPTY, ENDED, FORK, REAP

REHEARSALS = 20
"""Python specializes code that has run a few times."""
FIRST_UID, UIDS = 20_000, 40_000
PRELOADED = """
    abc atexit bisect collections copy dataclasses datetime decimal enum fractions functools heapq io itertools json
    math operator random re statistics string traceback types typing
"""
"""What programs import most, and then import for nothing. Not threading, which makes each fork cost more."""


def main() -> NoReturn:
    """Start the dispatcher, and serve it until it ends."""
    for module in PRELOADED.split():
        importlib.import_module(module)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    dispatcher = os.fork()
    if dispatcher == 0:
        ours.close()
        confine.keep_capabilities(confine.CAP_KILL)
        Dispatcher(theirs).serve()
    theirs.close()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    os.umask(0o077)  # from here on, what copies would otherwise do each by itself
    os.chdir(BOX)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
    sys.path.pop(0)  # the worker's own
    sys.argv = ["solution.py"]
    confine.deny_terminals()
    confine.keep_capabilities(confine.CAP_SETUID, confine.CAP_SETGID)
    confine.deny_syscalls()
    for _ in range(REHEARSALS):
        rehearse()
        interpreter.finish()  # not in copies, whose programs end once or, where they are called, never
        interpreter.unfinished()
    gc.collect()
    gc.freeze()  # or the collector's marks would copy every page in every child
    # of this container alone, since the kernel counts some things per user over all containers of a machine
    _serve(ours, dispatcher, uid=FIRST_UID + int.from_bytes(os.urandom(4), "big") % UIDS)


def _serve(requests: socket.socket, dispatcher: int, uid: int) -> NoReturn:
    while True:
        command, files, _, _ = socket.recv_fds(requests, 1, 8)
        if command == REAP:
            requests.send(struct.pack("=i", _reap()))
        elif command == FORK:
            pid = _fork(lambda: Child(files, uid).serve())  # noqa: B023 - called before `files` changes
            for file in files:
                os.close(file)
            requests.send(_await(pid, dispatcher))
        elif command == EMPTY:
            requests.send(_await(_fork(lambda: _empty(uid)), dispatcher))
        else:
            os._exit(0)  # the dispatcher has ended


def _fork(run: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(70)
    return pid


def _await(pid: int, dispatcher: int) -> bytes:
    """Wait for process `pid`, reaping others meanwhile; how it ended."""
    while True:
        ended, status, usage = os.wait4(-1, 0)
        if ended == pid:
            return ENDED.pack(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
        if ended == dispatcher:
            os._exit(0)


def _reap() -> int:
    count = 0
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            count += 1
    except ChildProcessError:
        pass
    return count


def _empty(uid: int) -> None:
    """Remove what is in the working directory. The dispatcher sees what resists, and gives the container up."""
    confine.become(uid)
    folders = [BOX]
    for folder in folders:
        os.chmod(folder, 0o700) if folder != BOX else None
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    os.unlink(entry.path)
    for folder in reversed(folders[1:]):
        os.rmdir(folder)
