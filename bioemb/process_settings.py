"""What a command sets for its whole process: threads, memory, how it hears signals; memory between two kinds of work.

A library that is imported sets nothing.
"""

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's <malloc.h>


def settle() -> None:
    """Let waiting threads sleep, and keep freed memory for the next tensors. To be called before torch is imported."""
    # Where another program shares the cores, threads that spin for each other take its time and then their own.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A model's tensors come and go by the megabyte; handed back to the system, each comes anew as pages to be zeroed.
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if set_option is not None:  # not on macOS or musl
        set_option(M_MMAP_MAX, 0)
        set_option(M_TRIM_THRESHOLD, -1)


@contextmanager
def termination_as_interruption() -> Iterator[None]:
    """Within it SIGTERM, which schedulers send, is a KeyboardInterrupt: what is finished is kept, and said."""
    if threading.current_thread() is not threading.main_thread():  # nobody else may take signals
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt("terminated")

    earlier = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def give_back_memory() -> None:
    """Hand what is free back to the system: the next kind of work has other sizes, and would not fit into the holes."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
