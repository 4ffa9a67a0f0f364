"""A process that ends when the one that began it is gone, killed without a chance to say so."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

_NAME = "HF_COMPRESS_PARENT"


def named() -> dict[str, str]:
    """Environment variables for a process that is to end with this one."""
    return {_NAME: str(os.getpid())}


@contextlib.contextmanager
def ending_with_parent(every_s: float = 1.0) -> Iterator[None]:
    """While the block runs, this process tells itself to end (SIGTERM) when the one of `named` has gone.

    Args:
        every_s: how often it looks, in seconds.
    """
    number = os.environ.pop(_NAME, None)  # not for processes that begin from here
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(every_s):
            if os.getppid() != int(str(number)):  # an orphan has another
                os.kill(os.getpid(), signal.SIGTERM)
                return

    if number is not None and number.isdecimal():
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
