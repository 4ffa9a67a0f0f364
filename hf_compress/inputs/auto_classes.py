"""Which classes an Auto class of transformers has for an architecture."""

from typing import Any


def classes_of(auto_class: Any, config: Any) -> tuple[type, ...]:
    """The classes of models that an Auto class makes for a config's architecture; () where it has none.

    transformers has no public way to ask without weights, so this is the one place that reads its table.

    Args:
        auto_class: e.g. AutoModelForCausalLM.
        config: a model's config.
    """
    found = auto_class._model_mapping.get(type(config), ())
    return tuple(found) if isinstance(found, tuple | list) else (found,)
