"""The front matter of a card, as the Hub sees it."""

import json

import yaml

from hf_compress._errors import CompressionError
from hf_compress._hub.client import said
from hf_compress._hub.destination import Destination
from hf_compress._hub.files import Files


def check_card(files: Files, there: Destination) -> None:
    """Ask the Hub whether it takes the card; it says so only when the commit is made otherwise.

    Raises:
        CompressionError: it does not, or could not be asked.
    """
    from huggingface_hub import ModelCard

    if "README.md" not in files.contents:
        return
    content = files.contents["README.md"]
    try:
        text = content.decode() if isinstance(content, bytes) else content.read_text(encoding="utf-8")
        card = ModelCard(text, ignore_metadata_errors=False)
        there.hub.ask(card.validate, "model")
    except json.JSONDecodeError as error:
        raise CompressionError(f"the Hub ({there.hub.api.endpoint}): {said(error)}; nothing was uploaded") from error
    except UnicodeDecodeError as error:
        raise CompressionError(
            "README.md is not UTF-8 text, which the Hub asks for; save it so, and push again. Nothing was uploaded"
        ) from error
    except yaml.YAMLError as error:
        raise CompressionError(
            f"README.md: its front matter is not valid YAML ({said(error)}); mend it, and push again. Nothing was uploaded"
        ) from error
    except ValueError as error:
        reason = _card_errors(error)
        raise CompressionError(
            f"README.md: the Hub does not take its front matter ({reason}); mend it, and push again. Nothing was uploaded"
        ) from error
    except Exception as error:
        raise CompressionError(f"the Hub ({there.hub.api.endpoint}): {said(error)}; nothing was uploaded") from error


def _card_errors(error: ValueError) -> str:
    try:
        return "; ".join(str(one.get("message")) for one in json.loads(str(error))["errors"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return said(error)
