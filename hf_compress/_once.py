"""What many steps of a run come to, and the log says once: each prunes or quantizes a model of its own."""

import contextlib
import contextvars
import logging
from collections.abc import Iterator

_said: contextvars.ContextVar[set[str] | None] = contextvars.ContextVar("said", default=None)


@contextlib.contextmanager
def saying_once(memory: set[str] | None = None) -> Iterator[None]:
    """In the block, or the function that it decorates, `log_once` says no sentence twice. A block inside belongs to it.

    Args:
        memory: what was said already, for blocks of one run that lie apart; by default nothing.
    """
    if _said.get() is not None:
        yield
        return
    token = _said.set(set() if memory is None else memory)
    try:
        yield
    finally:
        _said.reset(token)


def log_once(logger: logging.Logger, level: int, message: str, *values: object) -> None:
    """Log a sentence that was not said yet in this run; where no run is going on, every time.

    Args:
        logger: of the module that says it.
        level: of `logging`.
        message: with places for `values`.
        *values: put in, as `logger.log` does.
    """
    if not logger.isEnabledFor(level):
        return
    said, sentence = _said.get(), message % values if values else message
    if said is None or sentence not in said:
        logger.log(level, "%s", sentence)
    if said is not None:
        said.add(sentence)
