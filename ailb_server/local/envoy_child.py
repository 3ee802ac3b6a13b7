"""Becomes the given program, which then ends when the process that started it ends.

Run as `python -I -S envoy_child.py PARENT_PID PROGRAM [ARGUMENT...]`, in the child, because a
`preexec_fn` is not safe in a process with threads. Linux only; see prctl(2), PR_SET_PDEATHSIG: the
signal comes when the *thread* that started us ends.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Never returns."""
    parent, program = int(sys.argv[1]), sys.argv[2]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the parent is gone already")
    os.execv(program, sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    main()
