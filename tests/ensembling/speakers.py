"""Tiny language models with tokenizers of their own, and what they say by hand."""

import functools
import json

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from hf_compress.ensembling.modelling.spelling import BYTE_CHARACTERS
from tests.ensembling.folders import sharper
from tests.tiny import tiny_llama

KINDS = ("bytes", "pieces", "pieces first")
TEXT = ["the theory of the other thing", "this is that, then the rest", "no one knows the north; nothing is near", "café"]
OTHER = ["another day another dollar", "that is the other side", "a north wind, a south wind", "the end is near the shore"]


@functools.cache
def _bytes_backend(which, size):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|end|>"] if which == "first" else ["<pad>", "<stop>", "<start>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=sorted(BYTE_CHARACTERS.values()),
        show_progress=False,
    )
    backend.train_from_iterator(TEXT if which == "first" else OTHER, trainer)
    return backend.to_str()


def byte_tokenizer(which="first", size=290):
    """Byte-level BPE as GPT-2's."""
    special = {"eos_token": "<|end|>"}
    if which != "first":
        special = {"eos_token": "<stop>", "pad_token": "<pad>", "bos_token": "<start>"}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(_bytes_backend(which, size)), **special)


@functools.cache
def _piece_backend(size):
    characters = sorted({one for text in OTHER for one in text if one != " "})
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)]]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=["▁", *characters], show_progress=False
    )
    backend.train_from_iterator(OTHER, trainer)
    plain = json.loads(backend.to_str())
    plain["added_tokens"] = plain["added_tokens"][:3]
    made = Tokenizer.from_str(json.dumps(plain))
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made.to_str()


def piece_tokenizer(size=310):
    """With the spaces of SentencePiece, bytes to fall back on, and a beginning before every text, as Llama 2's."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_piece_backend(size)), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def speaker(tokenizer, seed=0, make=tiny_llama):
    """A tiny model over a tokenizer's vocabulary."""
    facts = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "max_position_embeddings": 128}
    facts |= {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return sharper(make(seed, **facts), 5.0).eval()


def pair(kind="bytes"):
    tokenizers = [byte_tokenizer(), byte_tokenizer("second", 300) if kind == "bytes" else piece_tokenizer()]
    if kind == "pieces first":
        tokenizers = tokenizers[::-1]
    return [speaker(one, seed) for seed, one in enumerate(tokenizers)], tokenizers


@functools.cache
def names(tokenizer):
    """Token -> its bytes; None for one with a part."""
    special, pieces = set(tokenizer.all_special_tokens), "▁" in tokenizer.get_vocab()
    back = {character: byte for byte, character in BYTE_CHARACTERS.items()}

    def spelled(token):
        if token in special:
            return None
        if pieces:
            return bytes([int(token[3:5], 16)]) if token.startswith("<0x") else token.replace("▁", " ").encode()
        return bytes(back[one] for one in token)

    return {token: spelled(token) for token in tokenizer.get_vocab()}


def read_by_hand(tokenizer, pieces):
    """A member's ids of a text that came in pieces: whole letters by its tokenizer, the rest token by token."""
    count = next(k for k in range(len(pieces), -1, -1) if _is_text(b"".join(pieces[:k])))
    ids = tokenizer(b"".join(pieces[:count]).decode())["input_ids"] if count else list(tokenizer("")["input_ids"])
    known = {}
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda one: -one[1]):
        known.setdefault(names(tokenizer)[token], number)
        if not token.startswith("<0x"):
            known[names(tokenizer)[token]] = number
    for piece in pieces[count:]:
        ids += [known[piece]] if piece in known else [known[bytes([byte])] for byte in piece]
    return ids


def _is_text(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def said_by_hand(member, tokenizer, ids, first):
    """bytes -> probability of the next token, and None -> that of the end.

    Other special tokens of members behind the first are left out. Where the first has a byte that is a letter too, both are
    tokens of their own.
    """
    with torch.no_grad():
        shares = member(torch.tensor([ids])).logits[0, -1].double().softmax(-1)
    own = names(tokenizer)
    letters = {piece for token, piece in own.items() if not token.startswith("<0x")}
    found = {}
    for token, number in tokenizer.get_vocab().items():
        piece = own[token]
        if first and token.startswith("<0x") and piece in letters:
            piece = (piece, "a byte")
        if piece is not None or number == tokenizer.eos_token_id:
            found[piece] = found.get(piece, 0.0) + float(shares[number])
    total = 1.0 if first else sum(found.values())
    return {piece: share / total for piece, share in found.items()}


def next_by_hand(members, tokenizers, pieces, weights=(0.5, 0.5)):
    """bytes -> probability in the mixture."""
    mixed = {}
    for place, (member, tokenizer, weight) in enumerate(zip(members, tokenizers, weights, strict=True)):
        said = said_by_hand(member, tokenizer, read_by_hand(tokenizer, pieces), first=place == 0)
        for piece, share in said.items():
            mixed[piece] = mixed.get(piece, 0.0) + weight * share
    return mixed
