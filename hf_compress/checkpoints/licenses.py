"""Under which licence a model may be used, as the card beside its weights says."""

import logging
from pathlib import Path

from hf_compress._paths import local_folder

logger = logging.getLogger(__name__)

_KEYS = ("license", "license_name", "license_link")
_CARD = "README.md"


def license_of(model: str) -> dict[str, str]:
    """`license`, and `license_name` and `license_link` where there are some, from the front matter of a model's card.

    Args:
        model: a folder, or a Hub id, whose card is fetched.

    Returns:
        {} where there is no card, it cannot be had, or it names no licence.
    """
    from huggingface_hub import metadata_load

    try:
        file = _card_of(model)
        said = metadata_load(file) if file is not None else None
    except Exception as error:  # the Hub client and YAML raise many kinds, and a licence that cannot be read is not known
        logger.info("the licence of %s is not known: its card cannot be read (%s)", model, type(error).__name__)
        return {}
    found = {key: value for key in _KEYS if isinstance(value := (said or {}).get(key), str)}
    return found if "license" in found else {}


def _card_of(model: str) -> Path | None:
    folder = local_folder(model)
    if folder is not None:
        return folder / _CARD if (folder / _CARD).is_file() else None
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(model, _CARD))
