"""What a process gives up: system calls, capabilities, user, and resources."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Sequence
from typing import Any

CAP_KILL, CAP_SETGID, CAP_SETUID = 5, 6, 7

_X86_64, _AARCH64 = 0xC000003E, 0xC00000B7
_DENIED = {  # numbers on x86_64 and aarch64, None where there is no such call
    # sockets: other programs, the host, the network
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    # other programs; a process that has started one may undo that it is the first to go when memory runs out
    "execve": (59, 221), "execveat": (322, 281),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "process_mrelease": (448, 448), "process_madvise": (440, 440), "perf_event_open": (298, 241),
    "membarrier": (324, 283),
    # what would outlive the program: shared memory, semaphores, queues, keys, attributes of the working directory
    "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "file_setattr": (469, 469),
    # files that no quota counts, and programs on no file system
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    # counted over the whole machine, or per user over all of its containers
    "io_setup": (206, 0), "io_destroy": (207, 1), "io_submit": (209, 2), "io_cancel": (210, 3),
    "io_getevents": (208, 4), "io_pgetevents": (333, 292), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "inotify_init": (253, None), "inotify_init1": (294, 26), "fanotify_init": (300, 262),
    # name spaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "mount_setattr": (442, 442), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    # parts of the kernel known for their holes, which no test needs
    "bpf": (321, 280), "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "vmsplice": (278, 75), "splice": (275, 76), "tee": (276, 77),
    "seccomp": (317, 277), "landlock_create_ruleset": (444, 444), "landlock_restrict_self": (446, 446),
    # works on all file systems of the machine
    "sync": (162, 81), "syncfs": (306, 267),
    "personality": (135, 92), "modify_ldt": (154, None), "syslog": (103, 116),
}  # fmt: skip
_SOCKETPAIR, _CLONE, _CLONE3, _PRCTL = (53, 199), (56, 220), (435, 435), (157, 167)
_FCNTL, _SET_PIPE_SIZE = (72, 25), 1031
_MMAP, _HUGE_PAGES = (9, 222), 0x40000
_SET_DUMPABLE, _SET_SECCOMP, _SET_NO_NEW_PRIVILEGES = 4, 22, 38
_NEW_NAMESPACES = 0x7E020000
_AF_UNIX = 1

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_X32_BIT = 0x40000000

_Instruction = tuple[int, int, int, int]
"""Code, instructions to skip if true and if false, operand."""

_libc = ctypes.CDLL(None, use_errno=True)


def deny_syscalls() -> None:
    """Refuse system calls in this process and all that it will fork, on top of the container's own filter.

    `socketpair` stays for AF_UNIX, as asyncio needs one; it reaches nobody. Calls of a foreign ABI kill.
    """
    machine = platform.machine()
    if machine not in ("x86_64", "aarch64"):
        raise OSError(errno.ENOSYS, f"no list of system calls for {machine}")
    column, arch = (0, _X86_64) if machine == "x86_64" else (1, _AARCH64)
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":
        program += [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _FAIL | errno.ENOSYS)]
    for numbers in _DENIED.values():
        number = numbers[column]
        if number is not None:
            program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _FAIL | errno.EPERM)]
    program += [(_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _FAIL | errno.ENOSYS)]  # libc falls back to clone
    for numbers, *tests in (
        (_CLONE, (0, _ANY_BIT, True, _NEW_NAMESPACES)),
        (_SOCKETPAIR, (0, _EQUAL, False, _AF_UNIX)),
        (_PRCTL, (0, _EQUAL, True, _SET_DUMPABLE), (1, _EQUAL, False, 0)),
        (_FCNTL, (1, _EQUAL, True, _SET_PIPE_SIZE)),  # counted for root, who made the pipes to the dispatcher
        (_MMAP, (3, _ANY_BIT, True, _HUGE_PAGES)),  # of which a machine has so many
    ):
        program += _deny_if(numbers[column], tests)
    program.append((_RETURN, 0, 0, _ALLOW))
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    filter_mode = 2
    _call("prctl", _SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _call("prctl", _SET_SECCOMP, filter_mode, ctypes.byref(Filter(len(program), code)), 0, 0)


def _deny_if(number: int, tests: Sequence[tuple[int, int, bool, int]]) -> list[_Instruction]:
    """Instructions that refuse a call if each test of an argument's lower half comes out as wanted.

    Args:
        number: Of the call.
        tests: Which argument, how to compare, what should come out, and with what to compare.
    """
    body: list[_Instruction] = []
    for argument, comparison, wanted, value in tests:
        left = 2 * (len(tests) - len(body) // 2 - 1) + 1  # to the end of the body
        body += [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument)]
        body += [(comparison, 0, left, value) if wanted else (comparison, left, 0, value)]
    body += [(_RETURN, 0, 0, _FAIL | errno.EPERM)]
    return [(_EQUAL, 0, len(body), number), *body, (_LOAD, 0, 0, _NUMBER_AT)]


def keep_capabilities(*kept: int) -> None:
    """Give up all capabilities but these, for good."""
    version_3 = 0x20080522
    low = sum(1 << capability for capability in kept)
    _call("capset", struct.pack("=Ii", version_3, 0), struct.pack("=6I", low, low, 0, 0, 0, 0))


def be_first_to_go() -> None:
    """Have the kernel kill this process and its children, rather than the worker's, when memory runs out.

    They cannot undo it: `become` makes what is in /proc of them root's, and `deny_syscalls` keeps it so.
    """
    score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(score, b"1000")
    os.close(score)


def deny_terminals() -> None:
    """Let nobody but root make terminals: a machine has so many, over all containers."""
    with contextlib.suppress(OSError):  # where there is no such file, or it cannot be changed; the doctor looks at it
        os.chmod("/dev/pts/ptmx", 0)


def become(uid: int) -> None:
    """Become a user without any rights, for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _call("prctl", _SET_DUMPABLE, 0, 0, 0, 0)


def limit_resources(limits: dict[str, Any], tests: int) -> None:
    """Set this process's limits, for good: the host's `Limits`, for as many tests.

    CPU time is the dispatcher's to measure, over all processes; the limit here is a second line. The number of
    processes is the container's: the kernel would count those of equal users in other containers too.
    """
    for which, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, int(min(limits["cpu_s"] * (tests + 1), limits["program_cpu_s"])) + 2),
        (resource.RLIMIT_AS, limits["memory_mb"] << 20),
        (resource.RLIMIT_FSIZE, limits["output_bytes"] + 1),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        limit = _within(which, value)
        resource.setrlimit(which, (limit, limit))
    # Many programs raise it, "to infinity" at that, and may: stacks count as memory.
    stack = resource.RLIMIT_STACK
    resource.setrlimit(stack, (_within(stack, 64 << 20), resource.getrlimit(stack)[1]))


def _within(which: int, value: int) -> int:
    """A value, or the limit that there is already."""
    hard = resource.getrlimit(which)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), name)
