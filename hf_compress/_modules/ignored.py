"""What is compressed otherwise than somebody may think is said.

A name to ignore that the model does not have: a slip of the pen there compresses what was to stay dense. A module that a
class names and that cannot be compressed.
"""

import logging
from collections.abc import Mapping, Sequence

from torch import nn

from hf_compress import _distributed
from hf_compress._modules.adapters import base_modules
from hf_compress._modules.matching import DEFAULT_IGNORE
from hf_compress._modules.packed import expert_matrices
from hf_compress._once import log_once
from hf_compress._problems import and_more

logger = logging.getLogger(__name__)


def say_unmatched(model: nn.Module, ignore: Sequence[str], setting: str) -> None:
    """Log, once in a run, the names in `ignore` that match no module; the default ones are many architectures' heads.

    Args:
        model: see `base_modules`.
        ignore: class names, module names or `re:` patterns.
        setting: how the log names the setting, e.g. "pruning".
    """
    from compressed_tensors.utils.match import is_match

    if not _distributed.is_main():
        return
    modules = base_modules(model)
    for name, module in list(modules.items()):
        modules.update(expert_matrices(name, module))
    for pattern in ignore:
        if pattern not in DEFAULT_IGNORE and not any(is_match(name, module, pattern) for name, module in modules.items()):
            log_once(
                logger, logging.WARNING, "%s.ignore: %r matches no module, so it keeps nothing dense", setting, pattern
            )


def say_left_out(reasons: Mapping[str, str], setting: str) -> None:
    """Log, once in a run, the modules that cannot be compressed: a sentence per reason, with the first and the number.

    Args:
        reasons: name -> why.
        setting: as there.
    """
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    for reason, alike in names.items():
        log_once(logger, logging.WARNING, "%s leaves out %s: %s", setting, and_more(alike), reason)
