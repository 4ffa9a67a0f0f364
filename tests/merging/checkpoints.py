"""Tiny checkpoints on disk, and tokenizers with chosen tokens."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hf_compress.checkpoints.source import open_source

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]


def word_tokenizer(words, added=()):
    """One id per word, behind four special tokens; `added` come as special added tokens."""
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    if added:
        tokenizer.add_tokens([AddedToken(token, special=True) for token in added], special_tokens=True)
    return tokenizer


def bpe_tokenizer(alphabet, merges, added=()):
    """Byte-pair encoding with the given merge rules; its vocabulary is the alphabet and what the rules make of it."""
    pieces = [*SPECIAL, *alphabet, *("".join(pair) for pair in merges)]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.BPE(vocabulary, list(merges), unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    if added:
        tokenizer.add_tokens([AddedToken(token, special=True) for token in added], special_tokens=True)
    return tokenizer


def save(folder, model, tokenizer=None, label=None):
    """The model as a source; the label is the folder's name."""
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return open_source(folder, label or folder.name)
