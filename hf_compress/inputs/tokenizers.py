"""Tokenizers that are there already."""

from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.location import folder_of
from hf_compress.inputs.pretrained import from_pretrained


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a folder or Hub id, with a padding token.

    Raises:
        CompressionError: there is none, or it has no vocabulary or no token to pad with.
    """
    from transformers import AutoTokenizer

    folder = folder_of(model, "tokenizer")
    if folder is not None and not any(file for part in ("token", "vocab", ".model") for file in folder.glob(f"*{part}*")):
        raise CompressionError(
            f"tokenizer: the folder {model} holds no tokenizer; save it there with save_pretrained, or name another"
        )
    tokenizer = from_pretrained(AutoTokenizer, model, "tokenizer")
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise CompressionError(
            f"tokenizer: {model} holds no vocabulary; save the tokenizer there, or name another with `tokenizer:`"
        )
    for one in (tokenizer, *getattr(tokenizer, "others", ())):  # of an ensemble several
        if one.pad_token is None:
            one.pad_token = one.eos_token or one.unk_token
    if tokenizer.pad_token is None:
        raise CompressionError(
            f"tokenizer: that of {model} has neither a padding nor an end token; add one and save it again"
        )
    return tokenizer


def tokenizer_of(processor: Any) -> Any:
    """The tokenizer that is the processor, or inside it; None where there is none."""
    tokenizer = getattr(processor, "tokenizer", processor)
    return tokenizer if hasattr(tokenizer, "get_vocab") else None
