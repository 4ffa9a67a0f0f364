"""What may come of a mutated input: it is taken, or refused in a sentence; soon, and without running anything."""

import collections
import contextlib
import signal
import time
import traceback

from hf_compress._errors import CompressionError

SLOW_S = 15
HANGING_S = 120


class Hanging(BaseException):
    """Raised by the alarm; nothing catches it by accident."""


def _alarm(*_):
    raise Hanging


class Judge:
    """Counts outcomes and keeps what is wrong.

    Attributes:
        counts: outcome -> how often.
        wrong: (case number, outcome, where, message) of everything that must not be.
        slowest_s: CPU seconds of the slowest case.
    """

    def __init__(self):
        self.counts = collections.Counter()
        self.wrong = []
        self.slowest_s = 0.0

    def __call__(self, number, action):
        """Run one case."""
        start, message = time.process_time(), ""
        signal.signal(signal.SIGALRM, _alarm)
        signal.alarm(HANGING_S)
        try:
            action()
            outcome = "accepted"
        except CompressionError as error:
            outcome, message = "refused", str(error)
            if not message.strip() or len(message) > 20_000:
                outcome = "refused without a sentence"
        except Hanging:
            outcome = "hanging"
        except BaseException as error:
            outcome = "traceback"
            last = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in last if "hf_compress" in frame.filename]
            where = f"{ours[-1].filename.rpartition('hf_compress/')[2]}:{ours[-1].lineno}" if ours else "?"
            message = f"{type(error).__name__} at {where}: {' '.join(str(error).split())[:200]}"
        finally:
            signal.alarm(0)
        seconds = time.process_time() - start
        self.slowest_s = max(self.slowest_s, seconds)
        if seconds > SLOW_S and outcome in ("accepted", "refused"):
            outcome, message = "slow", f"{seconds:.0f} s: {message}"
        self.counts[outcome] += 1
        if outcome not in ("accepted", "refused"):
            self.wrong.append((number, outcome, message[:300]))

    def summary(self):
        """One line of figures."""
        wanted = ("refused", "accepted", "traceback", "slow", "hanging", "refused without a sentence")
        figures = ", ".join(f"{self.counts[name]} {name}" for name in wanted)
        return f"{sum(self.counts.values())}: {figures}; slowest {self.slowest_s:.1f} s of CPU"


@contextlib.contextmanager
def no_progress_bars():
    import datasets

    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()
