"""Programs that reach for what is outside: the network, other processes, the kernel, the host."""

from functools import partial

from gdpo_sandbox.attacks.attack import attack

_escape = partial(attack, "escape")


def _forbidden(setup: str, act: str) -> str:
    """A program that does something forbidden, and says so if nothing stopped it."""
    lines = "\n    ".join(act.strip("\n").splitlines())
    return f"{setup}\ntry:\n    {lines}\nexcept (OSError, ImportError, AttributeError, ValueError): pass\nelse: print('BREACH')\ndef f(n): return 0"


_SYSCALL = """
import ctypes
def syscall(*arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0: raise OSError(ctypes.get_errno(), "syscall")
    return result
import platform
ARM = platform.machine() == "aarch64"
"""

ATTACKS = (
    _escape("network", "connects to the internet", _forbidden("import socket", "socket.create_connection(('1.1.1.1', 53), 1)")),
    _escape("name service", "looks up a name", _forbidden("import socket", "socket.getaddrinfo('example.com', 80)")),
    _escape("loopback", "listens on 127.0.0.1", _forbidden("import socket", "socket.create_server(('127.0.0.1', 0))")),
    _escape("UDP", "sends a datagram", _forbidden("import socket", "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))")),
    _escape("abstract socket", "listens where no file is needed", _forbidden("import socket", "s = socket.socket(socket.AF_UNIX)\ns.bind('\\0x')\ns.listen()")),
    _escape("socket file", "listens on a file", _forbidden("import socket", "s = socket.socket(socket.AF_UNIX)\ns.bind('s')\ns.listen()")),
    _escape("vsock", "speaks to the hypervisor", _forbidden("import socket", "socket.socket(socket.AF_VSOCK)")),
    _escape("netlink", "speaks to the kernel", _forbidden("import socket", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)")),
    _escape("raw packets", "opens a raw socket", _forbidden("import socket", "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)")),
    _escape("docker socket", "looks for the engine's socket", _forbidden("import os", "os.stat('/var/run/docker.sock')")),
    _escape("other memory", "reads the memory of other processes", _forbidden("import os", "[open(f'/proc/{p}/mem', 'rb') for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()]")),
    _escape("other files", "opens the descriptors of other processes", _forbidden("import os", "for p in ('1', str(os.getppid())):\n    os.listdir(f'/proc/{p}/fd')")),
    _escape("other environment", "reads the environment of other processes", _forbidden("", "open('/proc/1/environ').read()")),
    _escape("other mappings", "reads where other processes keep their code", _forbidden("", "assert open('/proc/1/maps').read(), 'empty'")),
    _escape("ptrace", "traces PID 1", _forbidden(_SYSCALL, "syscall(117 if ARM else 101, 16, 1, 0, 0)")),
    _escape("process_vm_readv", "reads the parent's memory by system call", _forbidden(_SYSCALL, "b = ctypes.create_string_buffer(64)\nsyscall(270 if ARM else 310, 1, b, 1, b, 1, 0)")),
    _escape("pidfd", "takes a descriptor from another process", _forbidden(_SYSCALL, "syscall(438, syscall(434, 1, 0), 0, 0)")),
    _escape("kill PID 1", "kills PID 1", _forbidden("import os", "os.kill(1, 9)")),
    _escape("kill the dispatcher", "kills all that it can see", _forbidden("import os", "for p in os.listdir('/proc'):\n    if p.isdigit() and int(p) not in (1, os.getpid()): os.kill(int(p), 9)\nif len([p for p in os.listdir('/proc') if p.isdigit()]) > 2: raise OSError")),
    _escape("stop the dispatcher", "stops all that it can see", _forbidden("import os", "for p in os.listdir('/proc'):\n    if p.isdigit() and int(p) != os.getpid(): os.kill(int(p), 19)")),
    _escape("kill everybody", "kills all processes that it may", "import os\ndef f(n):\n    os.kill(-1, 9)\n    return 0"),
    _escape("priority of others", "slows PID 1 down", _forbidden("import os", "os.setpriority(os.PRIO_PROCESS, 1, 19)")),
    _escape("become root", "sets its user to 0", _forbidden("import os", "os.setuid(0)")),
    _escape("other user", "sets its group to another", _forbidden("import os", "os.setgroups([0])")),
    _escape("setuid file", "makes a program that runs as its owner", _forbidden("import os, shutil, subprocess, sys", "shutil.copy(sys.executable, 'p')\nos.chmod('p', 0o4755)\nsubprocess.run(['./p', '-c', ''], check=True)")),
    _escape("execute", "runs a program that it has written", _forbidden("import os, subprocess", "open('p', 'w').write('#!/usr/bin/python3\\n')\nos.chmod('p', 0o755)\nsubprocess.run(['./p'], check=True)")),
    _escape("memory program", "runs a program from memory", _forbidden("import os", "os.memfd_create('x')")),
    _escape("shell", "starts a shell", _forbidden("import subprocess", "subprocess.run(['/bin/sh', '-c', 'true'], check=True)")),
    _escape("mount", "mounts a file system", _forbidden(_SYSCALL, "syscall(40 if ARM else 165, b'none', b'/tmp', b'tmpfs', 0, None)")),
    _escape("name space", "makes name spaces of its own", _forbidden(_SYSCALL, "syscall(97 if ARM else 272, 0x10000000)")),
    _escape("clone into name space", "forks into a user name space", _forbidden(_SYSCALL, "p = syscall(220 if ARM else 56, 0x10000000 | 17, 0, 0, 0, 0)\nif p == 0:\n    import os\n    os._exit(0)")),
    _escape("chroot", "changes its root", _forbidden("import os", "os.chroot('.')")),
    _escape("write the root", "writes outside of its working directory", _forbidden("", "open('/x', 'w')")),
    _escape("write the worker", "replaces the sandbox's own code", _forbidden("", "open('/opt/sandbox/worker/__main__.py', 'a')")),
    _escape("write the library", "replaces a module of the library", _forbidden("import os, json", "open(json.__file__, 'a')")),
    _escape("write the kernel", "writes kernel settings", _forbidden("", "open('/proc/sys/kernel/core_pattern', 'w').write('|/x')")),
    _escape("trigger", "writes to sysrq-trigger", _forbidden("", "open('/proc/sysrq-trigger', 'w').write('b')")),
    _escape("cgroup", "writes its cgroup's limits", _forbidden("import glob", "files = glob.glob('/sys/fs/cgroup/**/*max', recursive=True) + glob.glob('/sys/fs/cgroup/**/*limit_in_bytes', recursive=True)\nopen(files[0] if files else '/nowhere', 'w').write('max')")),
    _escape("devices", "opens the machine's memory and disks", _forbidden("import os", "[os.open(d, os.O_RDONLY) for d in ('/dev/mem', '/dev/sda', '/dev/vda', '/dev/kmsg') if os.path.exists(d)] or os.open('/dev/mem', 0)")),
    _escape("make a device", "makes a device file", _forbidden("import os, stat", "os.mknod('d', 0o600 | stat.S_IFBLK, os.makedev(8, 0))")),
    _escape("shared memory", "leaves a segment of shared memory", _forbidden(_SYSCALL, "syscall(194 if ARM else 29, 1234, 4096, 0o1666)")),
    _escape("shared memory file", "writes to /dev/shm", _forbidden("", "open('/dev/shm/x', 'w')")),
    _escape("semaphores", "leaves semaphores", _forbidden(_SYSCALL, "syscall(190 if ARM else 64, 1234, 1, 0o1666)")),
    _escape("message queue", "leaves a message queue", _forbidden(_SYSCALL, "syscall(186 if ARM else 68, 1234, 0o1666)")),
    _escape("POSIX queue", "leaves a POSIX message queue", _forbidden(_SYSCALL, "syscall(180 if ARM else 240, b'q', 0o102, 0o600, None)")),
    _escape("keyring", "leaves a key in the kernel", _forbidden(_SYSCALL, "syscall(217 if ARM else 248, b'user', b'x', b'y', 1, -3)")),
    _escape("bpf", "loads a program into the kernel", _forbidden(_SYSCALL, "syscall(280 if ARM else 321, 0, b'\\0' * 128, 128)")),
    _escape("io_uring", "goes around system call filters", _forbidden(_SYSCALL, "syscall(425, 4, ctypes.create_string_buffer(256))")),
    _escape("userfaultfd", "handles page faults itself", _forbidden(_SYSCALL, "syscall(282 if ARM else 323, 0)")),
    _escape("perf", "watches the processor's counters", _forbidden(_SYSCALL, "syscall(241 if ARM else 298, ctypes.create_string_buffer(128), 0, -1, -1, 0)")),
    _escape("old calls", "uses the system calls of 32 bits", _forbidden(_SYSCALL, "if ARM: raise OSError\nsyscall(0x40000000 + 39)")),
)  # fmt: skip
