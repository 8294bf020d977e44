"""Programs that reach for what is outside: the network, other processes, the kernel, the host."""

import textwrap

from gdpo_sandbox.attacks.attack import Attack
from gdpo_sandbox.program import Status

_SYSCALL = """
import ctypes, platform
def syscall(on_x86_64, on_aarch64, *arguments):
    number = on_x86_64 if platform.machine() == "x86_64" else on_aarch64
    arguments = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    result = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments)
    if result < 0: raise OSError(ctypes.get_errno(), "syscall")
    return result
"""
_OTHERS = """
import os
def others(act):
    "Does it to all other processes; fails if it fails for each."
    done = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try: act(int(name))
            except OSError: continue
            done += 1
    if not done: raise PermissionError
"""


def _escape(name: str, tries: str, forbidden: str, ends: tuple[Status, ...] = (Status.OK,)) -> Attack:
    """Something forbidden that says so if nothing stopped it. The system stops things by OSError."""
    body = textwrap.indent(forbidden.strip(), "    ")
    return Attack(
        "escape",
        name,
        tries,
        f"try:\n{body}\nexcept OSError: pass\nelse: print('BREACH')\ndef f(n): return 0\n",
        ends=ends,
    )


ATTACKS = (
    _escape("network", "connects to a machine on the internet", """
import socket
socket.create_connection(("1.1.1.1", 53), 1)
"""),
    _escape("name service", "looks up a name", "import socket\nsocket.getaddrinfo('example.com', 80)"),
    _escape("loopback", "listens on 127.0.0.1", "import socket\nsocket.create_server(('127.0.0.1', 0))"),
    _escape("datagram", "sends a datagram to itself", """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))
"""),
    _escape("IPv6", "opens a socket of the newer kind", "import socket\nsocket.socket(socket.AF_INET6)"),
    _escape("abstract socket", "listens where no file is needed", """
import socket
socket.socket(socket.AF_UNIX).bind("\\0x")
"""),
    _escape("socket file", "listens on a file", "import socket\nsocket.socket(socket.AF_UNIX).bind('s')"),
    _escape("socket pair", "makes a listener of a pair's end", """
import socket
ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
ends[0].bind("\\0x")
"""),
    _escape("vsock", "speaks to the hypervisor", "import socket\nsocket.socket(socket.AF_VSOCK)"),
    _escape("netlink", "speaks to the kernel", "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    _escape("packets", "listens to all packets", "import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW)"),
    _escape("cipher socket", "uses the kernel's ciphers", "import socket\nsocket.socket(socket.AF_ALG, 5)"),
    _escape("engine", "looks for the engine's socket", """
import os
paths = "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"
if not any(map(os.path.exists, paths)): raise FileNotFoundError
"""),
    _escape("memory of others", "opens the memory of other processes", _OTHERS + """
others(lambda pid: open(f"/proc/{pid}/mem", "rb").close())
"""),
    _escape("files of others", "lists the files of other processes", _OTHERS + """
others(lambda pid: os.listdir(f"/proc/{pid}/fd"))
"""),
    _escape("environment of others", "reads the environment of other processes", _OTHERS + """
others(lambda pid: open(f"/proc/{pid}/environ").close())
"""),
    _escape("code of others", "looks where other processes have their code", _OTHERS + """
others(lambda pid: open(f"/proc/{pid}/maps").close())
"""),
    _escape("folder of others", "enters other processes' folders", _OTHERS + """
others(lambda pid: os.listdir(f"/proc/{pid}/cwd"))
"""),
    _escape("ptrace", "traces other processes", _OTHERS + _SYSCALL + "others(lambda pid: syscall(101, 117, 16, pid, 0, 0))"),
    _escape("ptrace of a child", "has a child traced", _SYSCALL + """
import os
if os.fork() == 0:
    try: syscall(101, 117, 0, 0, 0, 0)
    except OSError: os._exit(9)
    os._exit(0)
if os.waitstatus_to_exitcode(os.wait()[1]) == 9: raise PermissionError
"""),
    _escape("process_vm_readv", "reads the memory of others by a system call", _OTHERS + _SYSCALL + """
here = (ctypes.c_size_t * 2)(id(others), 8)
others(lambda pid: syscall(310, 270, pid, here, 1, here, 1, 0))
"""),
    _escape("pidfd_getfd", "takes files from other processes", _OTHERS + _SYSCALL + """
others(lambda pid: syscall(438, 438, os.pidfd_open(pid), 0, 0))
"""),
    _escape("kill others", "kills other processes", _OTHERS + "others(lambda pid: os.kill(pid, 9))"),
    _escape("stop others", "stops other processes", _OTHERS + "others(lambda pid: os.kill(pid, 19))"),
    _escape("kill all", "kills all that it may", "import os\nos.kill(-1, 9)\nraise PermissionError", ends=(Status.OK, Status.SIGNAL)),
    _escape("slow others down", "takes other processes' turns", _OTHERS + """
others(lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 19))
"""),
    _escape("pin others", "moves other processes to one core", _OTHERS + """
others(lambda pid: os.sched_setaffinity(pid, os.sched_getaffinity(0)))
"""),
    _escape("limit others", "limits other processes", _OTHERS + """
import resource
others(lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, 1)))
"""),
    _escape("offer others", "has others killed first when memory runs out", _OTHERS + """
others(lambda pid: open(f"/proc/{pid}/oom_score_adj", "w").write("1000"))
"""),
    _escape("priority", "raises its own priority", "import os\nos.nice(-5)"),
    _escape("real time", "goes before everybody", "import os\nos.sched_setscheduler(0, 1, os.sched_param(1))"),
    _escape("root", "becomes root", "import os\nos.setuid(0)"),
    _escape("groups", "joins other groups", "import os\nos.setgroups([0])"),
    _escape("capabilities", "takes all capabilities", _SYSCALL + """
import struct
syscall(126, 91, struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", *[0xFFFFFFFF] * 6))
"""),
    _escape("owner", "gives a file to root, to run as it", """
import os
open("p", "w").write("#!/usr/bin/env python3")
os.chown("p", 0, 0)
os.chmod("p", 0o6755)
"""),
    _escape("own program", "runs a file that it has written", """
import os, subprocess, sys
open("p", "w").write("#!" + sys.executable)
os.chmod("p", 0o755)
subprocess.run(["./p"], check=True)
"""),
    _escape("program in memory", "makes a file that is in no folder, to run it", "import os\nos.memfd_create('x')"),
    _escape("own library", "loads machine code that it has written", """
import mmap, os
open("x.so", "wb").write(b"\\xc3" * 4096)
mmap.mmap(os.open("x.so", os.O_RDONLY), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
"""),
    _escape("shell", "starts a shell", "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'true'], check=True)"),
    _escape("mount", "mounts a file system", _SYSCALL + "syscall(165, 40, b'none', b'/tmp', b'tmpfs', 0, None)"),
    _escape("new mount", "mounts by the newer calls", _SYSCALL + "syscall(430, 430, b'tmpfs', 0)"),
    _escape("unmount", "removes what hides files", _SYSCALL + "syscall(166, 39, b'/proc/kcore', 2)"),
    _escape("name space", "makes a user name space, to be root in", _SYSCALL + "syscall(272, 97, 0x10000000)"),
    _escape("clone", "forks into a user name space", _SYSCALL + """
import os
if syscall(56, 220, 0x10000000 | 17, 0, 0, 0, 0) == 0: os._exit(0)
"""),
    _escape("clone3", "forks into a user name space by the newer call", _SYSCALL + """
import os, struct
if syscall(435, 435, struct.pack("=8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64) == 0: os._exit(0)
"""),
    _escape("other name space", "enters the name spaces of PID 1", _SYSCALL + """
import os
syscall(308, 268, os.open("/proc/1/ns/net", os.O_RDONLY), 0)
"""),
    _escape("chroot", "changes its root", "import os\nos.chroot('.')"),
    _escape("root folder", "writes outside of its working directory", "open('/x', 'w')"),
    _escape("other folders", "looks for another folder that it may write in", """
import os
for top in ("/dev", "/etc", "/home", "/mnt", "/opt", "/root", "/run", "/sys", "/usr", "/var"):
    for folder, _, _ in os.walk(top):
        try: open(folder + "/x", "w").close()
        except OSError: continue
        print("BREACH", folder)
raise PermissionError
""", ends=(Status.OK, Status.TIMEOUT)),
    _escape("write the sandbox", "changes the sandbox's own code", """
import glob
open(glob.glob("/opt/sandbox/**/*.py", recursive=True)[0], "a")
"""),
    _escape("write the library", "changes a module of the library", "import json\nopen(json.__file__, 'a')"),
    _escape("write the interpreter", "changes Python", "import os, sys\nopen(os.path.realpath(sys.executable), 'a')"),
    _escape("kernel settings", "writes what runs when programs crash", """
open("/proc/sys/kernel/core_pattern", "w").write("|/tmp/x")
"""),
    _escape("kernel memory", "reads the kernel's memory", """
if not open("/proc/kcore", "rb").read(1): raise PermissionError
"""),
    _escape("kernel log", "reads the kernel's log", _SYSCALL + "syscall(103, 116, 3, ctypes.create_string_buffer(99), 99)"),
    _escape("emergency key", "asks the kernel to start anew", "open('/proc/sysrq-trigger', 'w').write('b')"),
    _escape("control groups", "writes its own limits", """
import glob
for file in glob.glob("/sys/fs/cgroup/**/*", recursive=True):
    try: open(file, "w").close()
    except OSError: continue
    print("BREACH", file)
raise PermissionError
""", ends=(Status.OK, Status.TIMEOUT)),
    _escape("devices", "opens the machine's memory and disks", """
import os
harmless = "null", "zero", "full", "random", "urandom", "tty", "ptmx", "stdin", "stdout", "stderr", "core"
for name in sorted({*os.listdir("/dev"), "mem", "kmem", "kmsg", "sda", "vda", "kvm", "fuse"} - {*harmless}):
    try: file = os.open("/dev/" + name, os.O_RDONLY | os.O_NONBLOCK)
    except OSError: continue
    if not os.path.isdir("/dev/" + name): print("BREACH", name)
    os.close(file)
raise PermissionError
"""),
    _escape("device of its own", "makes a device file", """
import os, stat
os.mknod("d", 0o600 | stat.S_IFBLK, os.makedev(8, 0))
"""),
    _escape("shared memory", "leaves a segment of shared memory", _SYSCALL + "syscall(29, 194, 1234, 4096, 0o1666)"),
    _escape("shared memory file", "leaves a file in /dev/shm", "open('/dev/shm/x', 'w')"),
    _escape("semaphores", "leaves semaphores", _SYSCALL + "syscall(64, 190, 1234, 1, 0o1666)"),
    _escape("message queue", "leaves a message queue", _SYSCALL + "syscall(68, 186, 1234, 0o1666)"),
    _escape("named queue", "leaves a message queue with a name", _SYSCALL + "syscall(240, 180, b'q', 0o102, 0o600, None)"),
    _escape("keys", "leaves a key in the kernel", _SYSCALL + "syscall(248, 217, b'user', b'x', b'y', 1, -3)"),
    _escape("attributes", "leaves a note on the working directory", "import os\nos.setxattr('.', 'user.x', b'y')"),
    _escape("bpf", "loads a program into the kernel", _SYSCALL + "syscall(321, 280, 0, b'\\0' * 128, 128)"),
    _escape("io_uring", "goes round the filter of system calls", _SYSCALL + """
syscall(425, 425, 4, ctypes.create_string_buffer(256))
"""),
    _escape("userfaultfd", "handles page faults itself", _SYSCALL + "syscall(323, 282, 1)"),
    _escape("perf", "watches the processor's counters", _SYSCALL + """
import struct
syscall(298, 241, struct.pack("=IIQ112x", 1, 128, 0), 0, -1, -1, 0)
"""),
    _escape("kernel module", "loads a module into the kernel", _SYSCALL + "syscall(175, 105, b'x', 1, b'')"),
    _escape("reboot", "reboots", _SYSCALL + "syscall(169, 142, 0xFEE1DEAD, 672274793, 0x1234567, None)"),
    _escape("clock", "sets the clock", "import time\ntime.clock_settime(time.CLOCK_REALTIME, 0)"),
    _escape("host name", "renames the machine", "import socket\nsocket.sethostname('x')"),
    _escape("locked memory", "locks memory", _SYSCALL + "syscall(151, 230, 3)"),
    _escape("watches", "takes watches, of which each user has so many", _SYSCALL + "syscall(294, 26, 0)"),
    _escape("asynchronous I/O", "takes places for it, of which the machine has so many", _SYSCALL + """
syscall(206, 0, 64, ctypes.byref(ctypes.c_ulong()))
"""),
    _escape("huge pages", "takes huge pages, of which the machine has so many", """
import mmap
mmap.mmap(-1, 1 << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
"""),
    _escape("terminals", "takes a terminal, of which the machine has so many", "import os\nos.openpty()"),
    _escape("wide pipes", "has the sandbox's pipes counted as larger, for a user who may have so much", """
import fcntl
for fd in (3, 4): fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 20)
"""),
    _escape("handles of processes", "takes a handle of its own process", "import os\nos.pidfd_open(os.getpid())"),
    _escape("barriers", "interrupts all processors", _SYSCALL + "syscall(324, 283, 1, 0, 0)"),
    _escape("quotas", "asks for the quotas of disks", _SYSCALL + "syscall(179, 60, 0x80000700, None, 0, None)"),
    _escape("filter of its own", "puts its own filter on system calls", _SYSCALL + "syscall(317, 277, 2, 0, ctypes.create_string_buffer(8))"),
    _escape("handles", "opens files by handle, whatever folder hides them", _SYSCALL + """
handle = ctypes.create_string_buffer(136)
handle[0:4] = (128).to_bytes(4, "little")
syscall(303, 264, -100, b"/", handle, ctypes.create_string_buffer(8), 0)
"""),
    _escape("x32", "uses system call numbers of another kind", _SYSCALL + """
if platform.machine() != "x86_64": raise OSError
syscall(0x40000000 + 39, 0)
"""),
    _escape("32 bits", "uses the system calls of 32-bit programs", """
import ctypes, mmap, platform
if platform.machine() != "x86_64": raise OSError
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, getpid; int 0x80; ret
if ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))() < 0: raise OSError
""", ends=(Status.OK, Status.SIGNAL)),
    _escape("environment", "looks for secrets in the environment", """
import os
usual = "PATH", "HOME", "HOSTNAME", "LANG", "MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
found = [name for name in os.environ if name not in usual and not name.startswith("PYTHON")]
if not found: raise FileNotFoundError
"""),
    _escape("host's files", "looks for folders of the host", """
own = "overlay", "proc", "tmpfs", "devpts", "sysfs", "cgroup", "cgroup2", "mqueue", "devtmpfs"
for line in open("/proc/self/mountinfo"):
    words = line.split()
    if words[words.index("-") + 1] not in own and words[4] not in ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts"):
        print("BREACH", line)
raise PermissionError
"""),
)  # fmt: skip
