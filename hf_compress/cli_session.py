"""What every command does around its work: how it is interrupted, what is logged, what is said at the end."""

import contextlib
import logging
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from hf_compress import _distributed
from hf_compress._errors import Terminated
from hf_compress._parent import ending_with_parent


def check_recipe(recipe: Any, file: Path, processes: int | None = None) -> None:
    """Name every mistake in a recipe, or say that there is none, and what the job is about to do."""
    said = recipe.preview() if processes is None else recipe.scaling(processes)
    typer.echo(f"{file}: no mistakes found (job {recipe.name}, {recipe.fingerprint()})")
    if said:
        typer.echo(said)


@contextlib.contextmanager
def interruptible(way_out: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end with one line and the usual exit codes, 128 + the number of the signal."""

    def terminate(number: int, frame: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        with ending_with_parent():
            yield
    except KeyboardInterrupt as error:
        told = isinstance(error, Terminated)
        if _distributed.is_main():
            typer.echo(f"\nhf-compress: {'told to end' if told else 'interrupted'}; {way_out}", err=True)
        raise typer.Exit(128 + (signal.SIGTERM if told else signal.SIGINT)) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def complain(error: BaseException, hide: Callable[[str], str] = str) -> None:
    """The lines of an error on stderr, each behind the program's name.

    Progress bars that it interrupted are closed first: they live as long as the frames that its traceback holds, and what
    is printed before would stand behind them on their line.
    """
    one: BaseException | None = error
    while one is not None:
        traceback.clear_frames(one.__traceback__)
        one = one.__cause__ or one.__context__
    for line in str(error).splitlines():
        typer.echo(f"hf-compress: {hide(line)}", err=True)


def say(result: Any) -> None:
    """A job's last lines; they are the main process's to say."""
    summary = result.summary()
    if summary:
        typer.echo(summary)


def quiet() -> None:
    """Logs on rank zero only; third parties speak up from warnings on."""
    level = logging.INFO if _distributed.is_main() else logging.ERROR
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("hf_compress").setLevel(level)
    # Where it is installed, transformers imports it, and it tells stdout which device it would have used.
    logging.getLogger("DeepSpeed").addFilter(_asked_for)
    if not _distributed.is_main():
        logging.disable(logging.WARNING)


def _asked_for(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Setting ")
