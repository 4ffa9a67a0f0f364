"""The one exception type for bad input.

Every refusal of the library is a `CompressionError`: one sentence that names the thing, the value, the rule and the way
out. It is a `ValueError`, so Python users need not know it; the command line turns it into exit code 2 without a
traceback, and lets every other exception through as the bug it is.
"""


class CompressionError(ValueError):
    """A user's setting, file or model cannot be used as it is; the message says why and what to do."""


class Terminated(KeyboardInterrupt):
    """The process was told to end (SIGTERM) and has left things in order; like Ctrl-C it is nobody's mistake."""
