"""Become the server, after asking the kernel to kill it when its starter dies.

Run by `server.EmbeddedServer` as `python -I -S server_launch.py PARENT BINARY ARGUMENT…`; needs
the standard library only. The request (PR_SET_PDEATHSIG) outlives `exec`; it is bound to the
*thread* that started this process, which `EmbeddedServer` keeps alive for that reason. On
systems other than Linux there is no such request, and the server is stopped at exit only.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Replace this process by the server."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != parent:  # it died before the request was made
            sys.exit(1)
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
