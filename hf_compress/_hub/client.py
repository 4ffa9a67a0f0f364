"""Asking the Hub: again where it was busy or the line broke, and its refusals in one sentence."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress._secrets import hide_secrets

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

BUSY = frozenset({408, 429, 500, 502, 503, 504})
"""What passes when it is asked again; the list of `huggingface_hub`, which asks again for uploads but not for the rest."""
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try."""
_LONGEST_WAIT = 300.0


class PushError(CompressionError):
    """A push that could not be finished: the folder is as it was, and the message says what is on the Hub."""

    exit_code = 1


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A Hub, as whom one asks it, and how patiently.

    Attributes:
        api: of `huggingface_hub`.
        waits: seconds before each further try.
    """

    api: "HfApi"
    waits: tuple[float, ...] = WAITS

    @classmethod
    def of(cls, token: str | None = None) -> "Hub":
        """That of HF_ENDPOINT; the token is the one given, that of HF_TOKEN, or that of `hf auth login`."""
        from huggingface_hub import HfApi

        return cls(api=HfApi(token=token, library_name="hf_compress"))

    def ask(self, question: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What `question(*args, **kwargs)` gives; asked again while the Hub is busy or cannot be reached.

        Raises:
            Exception: that of the last try, or the first that would come again.
        """
        for wait in self.pauses():
            try:
                return question(*args, **kwargs)
            except Exception as error:
                if wait is None or not is_passing(error):
                    raise
                pause(error, wait)
        raise AssertionError("the last try returns or raises")

    def pauses(self) -> Iterator[float | None]:
        """Seconds to wait after each try; None after the last."""
        yield from self.waits
        yield None


def pause(error: Exception, wait: float) -> None:
    """Wait, as long as the Hub asks for where it says so."""
    asked = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", "")
    seconds = min(float(asked), _LONGEST_WAIT) if asked.isdigit() else wait
    logger.warning("the Hub: %s; asking again in %g s", said(error), seconds)
    time.sleep(seconds)


def status_of(error: BaseException | None) -> int | None:
    """The status of the Hub's answer, also where an upload hands it on as a cause; None where there was none."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = error.__cause__
    return None


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later; a setting that forbids it does not pass."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return False
    status = status_of(error)
    return status in BUSY if status is not None else is_of_the_line(error) or isinstance(error, json.JSONDecodeError)


def is_of_the_line(error: BaseException | None) -> bool:
    """Whether nothing answered: no network, no such host, a connection that broke."""
    from huggingface_hub.errors import HfHubHTTPError

    # The HTTP library is huggingface_hub's own matter, and has had three names; its errors begin in this base.
    transport = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    while error is not None:
        if isinstance(error, transport | ConnectionError | TimeoutError) and not isinstance(error, HfHubHTTPError):
            return True
        error = error.__cause__
    return False


def said(error: BaseException) -> str:
    """What the Hub or the line says, in one line and without a secret."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so that nothing is asked of the Hub; unset it"
    inner: BaseException = error
    while inner.__cause__ is not None and status_of(inner.__cause__) is not None and not hasattr(inner, "response"):
        inner = inner.__cause__
    message = getattr(inner, "server_message", None)
    status = status_of(inner)
    if status is not None:
        return hide_secrets(f"status {status}" + (f" ({' '.join(message.split())[:200]})" if message else ""))
    if is_of_the_line(inner):
        return hide_secrets(f"it cannot be reached ({reason_of(inner, 200)})")
    return hide_secrets(reason_of(inner, 300))
