"""The first program of a child: binds itself, then becomes the program of its arguments.

Run as a script by `child.py`, with `python -I -S`. Rival: `preexec_fn` of subprocess, which runs Python between fork
and exec of a process with threads and may deadlock; here the limits stand before the first foreign byte is opened, too.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h
_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000  # linux/sched.h
# Address space that is reserved but never touched: the binary, thread stacks (8 MiB each), allocator arenas.
_RESERVED_BYTES = 1024**3


def main() -> None:
    """Set the limits of argv and run its program.

    argv: parent pid, memory bytes, CPU seconds, file bytes, then the program and its arguments.
    """
    parent, memory, cpu_s, file_bytes = map(int, sys.argv[1:5])
    libc = ctypes.CDLL(None, use_errno=True)
    _leave_network(libc)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before the signal was asked for
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_AS, (memory + _RESERVED_BYTES, memory + _RESERVED_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and that would be inherited
        signal.signal(number, signal.SIG_DFL)
    os.execv(sys.argv[5], sys.argv[5:])


def _leave_network(libc: ctypes.CDLL) -> None:
    # An empty network namespace, where the kernel lets us; the protocol whitelist holds in any case.
    if libc.unshare(_CLONE_NEWNET) != 0:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


if __name__ == "__main__":
    main()
