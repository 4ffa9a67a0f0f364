"""What a recipe's own config may say, and a tokenizer trained on its data."""

from collections.abc import Iterable
from typing import Any

from hf_compress import _distributed
from hf_compress._errors import CompressionError, reason_of
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


def train_on_main(fresh: FreshTokenizer, texts: Iterable[str] | None, refused: str = "") -> Any:
    """The same where several processes run: one trains, all get its tokenizer. Every process must call it.

    Args:
        fresh: what is asked for.
        texts: to train on; None in a process that could not open them.
        refused: why it could not.

    Returns:
        The tokenizer; None where no process could open the texts.

    Raises:
        CompressionError: some could, and others not; or there is nothing in the texts.
    """
    reasons = _distributed.gather(refused if texts is None else None)
    if texts is None and None not in reasons:
        return None
    for number, reason in enumerate(reasons):
        if reason is not None:
            raise CompressionError(f"process {number}: {reason}")
    assert texts is not None
    if _distributed.world_size() == 1:
        return train_tokenizer(fresh, texts)
    from accelerate.utils import broadcast_object_list
    from tokenizers import Tokenizer

    trained: list[Any] = []
    _distributed.first_alone(lambda: trained.append(train_tokenizer(fresh, texts)))
    text = [one.backend_tokenizer.to_str() for one in trained] or [None]
    broadcast_object_list(text, from_process=0)
    return trained[0] if trained else wrap_tokenizer(Tokenizer.from_str(str(text[0])))
