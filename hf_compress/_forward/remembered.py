"""Questions about an architecture, which have one answer however often they are asked.

What a model is built, packed or run for on the way hangs on its class and config alone, and a run asks the same of one
architecture at every model that it makes, prepares or writes. A function is asked with a `Question` under `lru_cache`.
"""

import itertools
import re
import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

_UNLIKE = itertools.count()
_ORIGIN = re.compile(r'"_name_or_path": "(?:[^"\\]|\\.)*"')
"""Where a model was loaded from."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What an answer depends on, and what is needed to find it.

    Attributes:
        cls: the model's class.
        config: all of its config as text, and the ways in which attention is computed.
        more: what else the answer depends on.
        model: looked at where the answer is not known yet.
        given: of `more`, in the form in which it is worked with.
    """

    cls: type
    config: str
    more: Hashable
    model: "weakref.ref[Any]" = field(compare=False)
    given: Any = field(compare=False)


def question(model: nn.Module, more: Hashable = (), given: Any = None) -> Question | None:
    """The question that a model stands for; None for what is no model of transformers.

    Args:
        model: only looked at while the caller has it.
        more: what else the answer depends on.
        given: the same, in the form in which it is worked with.
    """
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        return None
    config: Any = model.config
    parts = [config, *(getattr(config, key, None) for key in getattr(config, "sub_configs", ()))]
    attention = [getattr(part, "_attn_implementation", None) for part in parts]
    try:
        text = _ORIGIN.sub("", config.to_json_string(use_diff=False)) + str(attention)
    except Exception:  # configs of users hold what they like; such a question is like no other
        text = f"{next(_UNLIKE)}"
    return Question(cls=type(model), config=text, more=more, model=weakref.ref(model), given=given)
