"""The one exception type for bad input.

Every refusal of the library is a `CompressionError`: one sentence that names the thing, the value, the rule and the way
out. It is a `ValueError`, so Python users need not know it; the command line turns it into exit code 2 without a
traceback, and lets every other exception through as the bug it is.
"""


class CompressionError(ValueError):
    """A user's setting, file or model cannot be used as it is; the message says why and what to do.

    Attributes:
        exit_code: of the command line.
        in_all: every process of the run refuses it in these words.
    """

    exit_code = 2
    in_all = False


class Terminated(KeyboardInterrupt):
    """The process was told to end (SIGTERM) and has left things in order; like Ctrl-C it is nobody's mistake."""


def reason_of(error: BaseException, length: int = 300) -> str:
    """What another library says about its refusal, in one line.

    A KeyError says only the key, and transformers' advice to trust code beside a checkpoint has no place to go here.

    Args:
        error: the library's.
        length: of the line at most.
    """
    text = " ".join(str(error).split())
    if "trust_remote_code" in text:
        return "it needs code that lies beside it, which is never run here; load the model yourself and pass it from Python"
    if isinstance(error, KeyError):
        return f"{text[:length]} is missing or unknown there"
    return text[:length] or type(error).__name__
