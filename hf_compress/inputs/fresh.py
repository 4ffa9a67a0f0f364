"""What a recipe's own config may say, and a tokenizer trained on its data."""

from collections.abc import Iterable
from typing import Any

from hf_compress import _distributed
from hf_compress._errors import reason_of
from hf_compress._problems import Problem, RecipeError
from hf_compress._registry import unknown
from hf_compress.inputs.sections import FreshModel, FreshTokenizer

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
"""Special tokens come before the bytes."""


def check_keys(model: FreshModel, decided: Iterable[str]) -> None:
    """Refuse an unknown architecture, keys that its config does not have, and keys that are not the recipe's to set.

    Args:
        model: a config.
        decided: the keys that follow from data and tokenizer.

    Raises:
        RecipeError: with every key at once.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    fields = dict(model.config)
    model_type = fields.pop("model_type")
    if model_type not in CONFIG_MAPPING:
        message = unknown("architecture", model_type, CONFIG_MAPPING).split(" (known")[0]
        raise RecipeError([Problem(path="model.config.model_type", message=message)])
    try:
        known = set(AutoConfig.for_model(model_type).to_dict()) | {"vocab_size", "num_labels"}
    except Exception as error:  # architectures made of others have no config of their own
        message = f"{model_type} has no default config to start from: {reason_of(error)}"
        raise RecipeError([Problem(path="model.config.model_type", message=message)]) from error
    messages = {
        key: unknown(f"key of a {model_type} config", str(key), known).split(" (known:")[0]
        for key in fields
        if key not in known
    }
    messages |= {key: "the data and tokenizer decide this; leave it out" for key in decided if key in fields}
    if messages:
        raise RecipeError([Problem(path=f"model.config.{key}", message=text) for key, text in messages.items()])


def train_tokenizer(fresh: FreshTokenizer, texts: Iterable[str]) -> Any:
    """A byte-level BPE tokenizer trained on `texts`; the same texts give the same tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=fresh.vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return wrap_tokenizer(backend)


def wrap_tokenizer(backend: Any) -> Any:
    """A trained backend as transformers uses it; one special token starts, ends and pads."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END_OF_TEXT, bos_token=END_OF_TEXT, pad_token=END_OF_TEXT
    )


def train_on_main(fresh: FreshTokenizer, texts: Iterable[str]) -> Any:
    """The same where several processes run: one trains, all get its tokenizer."""
    if _distributed.world_size() == 1:
        return train_tokenizer(fresh, texts)
    from accelerate.utils import broadcast_object_list
    from tokenizers import Tokenizer

    trained = train_tokenizer(fresh, texts) if _distributed.is_main() else None
    text = [trained.backend_tokenizer.to_str() if trained is not None else None]
    broadcast_object_list(text, from_process=0)
    return trained if trained is not None else wrap_tokenizer(Tokenizer.from_str(str(text[0])))
