"""One vocabulary for all members: decides the result's tokens and wraps the sources accordingly."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress.checkpoints.companion_names import vocabulary_files
from hf_compress.checkpoints.sized_tensors import config_of, sized_tensors, vocabulary_path, vocabulary_size
from hf_compress.checkpoints.source import Source
from hf_compress.checkpoints.token_ids import move_token_ids
from hf_compress.merging.compat import Compat, differences
from hf_compress.merging.configuration import BASE, Tokenizer
from hf_compress.merging.members.aligned import AlignedSource, RowTable
from hf_compress.merging.members.tokenizers import tokenizer_in, union, with_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """What alignment gives back.

    Attributes:
        sources: in the order given; wrapped where the vocabularies differ. Their `config` carries the new size and ids.
        tokenizer: to be saved with the result; None = nothing changes, so the base's files are copied.
        vocab_size: rows of the result's embeddings; None where nothing changes.
        moved: token id of the base -> of the result, None where the token is gone; {} where nothing changes.
        report: counts for the manifest.
    """

    sources: tuple[Source, ...]
    tokenizer: "PreTrainedTokenizerBase | None" = None
    vocab_size: int | None = None
    moved: Mapping[int, int | None] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)

    def move(self, data: Mapping[str, Any], place: str) -> dict[str, Any]:
        """generation_config.json of the base with the result's token ids."""
        return dict(data) if self.tokenizer is None else move_token_ids(data, self.moved, self.tokenizer, place)


def align(
    sources: Sequence[Source], folders: Mapping[str, Path], setting: Tokenizer | None, compat: Compat = "paper"
) -> Alignment:
    """Bring every source to the result's vocabulary.

    Rows beyond a tokenizer's tokens (padding) stay where they are. The result has as many rows as the model whose tokenizer
    it takes, and more where the union or `pad_to_multiple_of` needs them; rows that no source has are zeros.

    With compat "mergekit" it is as in version 0.1.5: there are as many rows as tokens, so padding goes; rows that
    `pad_to_multiple_of` adds are the mean of all rows of the source; a source that lacks a token gets the base's row where
    the base has it, and the average only where it has not; tokens in `rows` and `missing_rows` that the result's tokenizer
    lacks are added to it.

    Args:
        sources: the base first, or the first member where there is none.
        folders: label -> the folder with the tokenizer. A member without one is read with the base's tokenizer, if it has
            equally many rows.
        setting: whose tokens the result has; None = all vocabularies must be equal.
        compat: whose rules, see above.

    Raises:
        CompressionError: vocabularies differ and `setting` is None, tokenizers are of different kinds, a label or a token
            is unknown, or an architecture cannot be built.
    """
    if setting is not None and setting.pad_to_multiple_of is not None and setting.pad_to_multiple_of < 1:
        raise CompressionError(
            f"tokenizer.pad_to_multiple_of={setting.pad_to_multiple_of} is not a number of rows; write e.g. 64"
        )
    sizes = [vocabulary_size(source) for source in sources]
    if all(size is None for size in sizes):
        return _unchanged(sources, setting)
    if None in sizes:
        bare = sources[sizes.index(None)]
        raise CompressionError(
            f"{bare.place} has no vocabulary in its config.json, and others have one; save the model there with its config"
        )
    if setting is None and len(set(sizes)) == 1 and _same_files(sources, folders):
        return Alignment(sources=tuple(sources))
    tokenizers, borrowed = _load_all(sources, folders, sizes, setting)
    if len(set(sizes)) == 1 and all(equal(tokenizers[0], other) for other in tokenizers):
        if setting is None or _keeps(setting, sizes[0] or 0, tokenizers[0], compat):
            return Alignment(sources=tuple(sources))
    elif setting is None:
        raise CompressionError(_difference(sources, tokenizers, sizes))
    assert setting is not None
    labels = [source.label for source in sources]
    differs = differences(compat)
    result, num_rows = _result(labels, tokenizers, sizes, setting)
    if differs.adds_named_tokens:
        result = with_tokens(result, [*setting.rows, *setting.missing_rows])
    if differs.drops_padding:
        num_rows = 0
    vocabulary = result.get_vocab()
    token_of = {index: token for token, index in vocabulary.items()}
    num_tokens = max(token_of, default=-1) + 1
    num_rows = max(num_rows, num_tokens)
    num_rows = -(-num_rows // (setting.pad_to_multiple_of or 1)) * (setting.pad_to_multiple_of or 1)
    tokens = [token_of.get(index) for index in range(num_rows)]
    rows = torch.stack(
        [_rows(tokens, tokenizer.get_vocab(), size or 0) for tokenizer, size in zip(tokenizers, sizes, strict=True)]  # type: ignore[union-attr]
    )
    if differs.drops_padding:
        rows[:, [token is None for token in tokens]] = -1
    taken = _taken("rows", setting.rows, vocabulary, labels, rows)
    lent = _taken("missing_rows", setting.missing_rows, vocabulary, labels, rows)
    if differs.base_lends_rows and labels[0] == BASE:
        lent[(lent < 0) & (rows[0] >= 0)] = 0
    axes = [sized_tensors(source, "vocab_size") for source in sources]
    _check_axes(sources, axes, sizes)
    padding = num_tokens if differs.pads_with_mean and num_rows > num_tokens else None
    table = RowTable(sources, axes, rows, taken, lent, padding)
    base_tokens = tokenizers[0].get_vocab()  # type: ignore[union-attr]
    moved = {index: vocabulary.get(token) for token, index in base_tokens.items()}
    wrapped = tuple(
        # Only the first source's config is written, so only its ids need to be right.
        AlignedSource(source, number, table, _new_config(source, num_rows, {} if number else moved, result))
        for number, source in enumerate(sources)
    )
    report = {
        "tokens_of": setting.source,
        "num_tokens": len(vocabulary),
        "vocab_size": num_rows,
        "num_added": sum(token not in base_tokens for token in vocabulary),
        "num_averaged": {label: int((table.takes[number]).sum()) for number, label in enumerate(labels)},
        "num_zero_rows": int((rows < 0).all(0)[:padding].sum()),
        "read_with_the_tokenizer_of_the_base": borrowed,
    }
    return Alignment(sources=wrapped, tokenizer=result, vocab_size=num_rows, moved=moved, report=report)


def equal(one: "PreTrainedTokenizerBase | None", other: "PreTrainedTokenizerBase | None") -> bool:
    """Whether two tokenizers give every token the same id."""
    return one is other or (one is not None and other is not None and one.get_vocab() == other.get_vocab())


def _unchanged(sources: Sequence[Source], setting: Tokenizer | None) -> Alignment:
    if setting is not None:
        raise CompressionError(
            "tokenizer is set, but no model has a vocabulary in its config.json; leave `tokenizer` out of this merge"
        )
    return Alignment(sources=tuple(sources))


def _same_files(sources: Sequence[Source], folders: Mapping[str, Path]) -> bool:
    """True where all tokenizers are the same bytes (tokenizer.json, else all that holds tokens); spares loading them."""
    contents = {_vocabulary_bytes(folders[source.label]) for source in sources if source.label in folders}
    return len(contents) == 1 and () not in contents


def _vocabulary_bytes(folder: Path) -> tuple[tuple[str, bytes], ...]:
    whole = folder / "tokenizer.json"
    files = [whole] if whole.is_file() else vocabulary_files(folder)
    return tuple((file.name, file.read_bytes()) for file in files)


def _load_all(
    sources: Sequence[Source],
    folders: Mapping[str, Path],
    sizes: Sequence[int | None],
    setting: Tokenizer | None,
) -> tuple[list["PreTrainedTokenizerBase | None"], list[str]]:
    """The tokenizers, and the labels of those that borrow the base's."""
    found = [tokenizer_in(folders[source.label]) if source.label in folders else None for source in sources]
    if found[0] is None and (setting is not None or any(tokenizer is not None for tokenizer in found)):
        if setting is None and len(set(sizes)) == 1:
            _check_owners(sources, found, sizes)
            return [None] * len(found), []  # equal sizes, and nothing says what the base's rows mean
        raise CompressionError(
            f"{sources[0].place} has no tokenizer, so its rows cannot be matched with the others'; save its tokenizer there"
        )
    borrowed = []
    for number, tokenizer in enumerate(found):
        if tokenizer is not None or found[0] is None:
            continue
        if sizes[number] != sizes[0]:
            raise CompressionError(
                f"{sources[number].place} has no tokenizer and {sizes[number]} rows, where {sources[0].label} has"
                f" {sizes[0]}; save its tokenizer there"
            )
        found[number] = found[0]
        borrowed.append(sources[number].label)
    return found, borrowed


def _check_owners(
    sources: Sequence[Source], tokenizers: Sequence["PreTrainedTokenizerBase | None"], sizes: Sequence[int | None]
) -> None:
    """Of sources without a base to compare them with, those that have a tokenizer must agree."""
    owners = [number for number, tokenizer in enumerate(tokenizers) if tokenizer is not None]
    chosen = [tokenizers[number] for number in owners]
    if not all(equal(chosen[0], other) for other in chosen):
        raise CompressionError(_difference([sources[number] for number in owners], chosen, [sizes[n] for n in owners]))


def _difference(
    sources: Sequence[Source], tokenizers: Sequence["PreTrainedTokenizerBase | None"], sizes: Sequence[int | None]
) -> str:
    """The sentence for members whose vocabularies differ, with the first that does."""
    for source, tokenizer, size in zip(sources, tokenizers, sizes, strict=True):
        if size != sizes[0]:
            how = f"{size} rows, that of {sources[0].label} {sizes[0]}"
        elif not equal(tokenizers[0], tokenizer):
            ours, theirs = tokenizers[0].get_vocab(), tokenizer.get_vocab()  # type: ignore[union-attr]
            token = min(
                (token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)),
                key=lambda token: (min(ours.get(token, len(ours)), theirs.get(token, len(theirs))), token),
            )
            how = f"{token!r} as token {theirs.get(token)}, that of {sources[0].label} as {ours.get(token)}"
        else:
            continue
        return f"the vocabulary of {source.label} has {how}; write tokenizer: {{source: union}} (or base, or a member)"
    raise AssertionError("the vocabularies are equal")


def _result(
    labels: list[str],
    tokenizers: Sequence["PreTrainedTokenizerBase | None"],
    sizes: Sequence[int | None],
    setting: Tokenizer,
) -> tuple["PreTrainedTokenizerBase", int]:
    """The result's tokenizer and its least number of rows."""
    if setting.source == "union":
        return union(dict(zip(labels, tokenizers, strict=True))), sizes[0] or 0  # type: ignore[arg-type]
    if setting.source != BASE and setting.source not in labels:
        raise CompressionError(unknown("tokenizer.source", setting.source, [BASE, "union", *labels]))
    number = labels.index(setting.source) if setting.source in labels else 0
    return tokenizers[number], sizes[number] or 0  # type: ignore[return-value]


def _rows(tokens: list[str | None], vocabulary: dict[str, int], size: int) -> Tensor:
    """(R,) the row of each token of the result in a source; -1 = none."""
    padding = set(range(size)).difference(vocabulary.values())
    found = [
        vocabulary.get(token, -1) if token is not None else (index if index in padding else -1)
        for index, token in enumerate(tokens)
    ]
    rows = torch.tensor(found, dtype=torch.int64)
    return torch.where(rows < size, rows, -1)


def _keeps(setting: Tokenizer, size: int, tokenizer: "PreTrainedTokenizerBase | None", compat: Compat) -> bool:
    """Whether equal vocabularies of `size` rows can stay as they are."""
    if setting.rows or setting.missing_rows or size % (setting.pad_to_multiple_of or 1):
        return False
    if not differences(compat).drops_padding:
        return True
    return tokenizer is not None and size == max(tokenizer.get_vocab().values(), default=-1) + 1


def _taken(where: str, wanted: Mapping[str, str], vocabulary: dict[str, int], labels: list[str], rows: Tensor) -> Tensor:
    """(R,) the source a row is taken from by the user; -1 = none."""
    taken = torch.full((rows.shape[1],), -1, dtype=torch.int64)
    for token, label in wanted.items():
        if token not in vocabulary:
            raise CompressionError(f"tokenizer.{where}: the result has no token {token!r}; name one of its tokens")
        if label not in labels and label != BASE:
            raise CompressionError(unknown(f"member in tokenizer.{where}[{token!r}]", label, labels))
        number = labels.index(label) if label in labels else 0
        if rows[number, vocabulary[token]] < 0:
            raise CompressionError(f"tokenizer.{where}: {label} has no row for {token!r}; name a member that has it")
        taken[vocabulary[token]] = number
    return taken


def _check_axes(sources: Sequence[Source], axes: Sequence[dict[str, int]], sizes: Sequence[int | None]) -> None:
    for source, found, size in zip(sources, axes, sizes, strict=True):
        for name, axis in found.items():
            if source.infos[name].shape[axis] != size:
                raise CompressionError(
                    f"{source.place}: {name} has {source.infos[name].shape[axis]} rows, its config.json says"
                    f" vocab_size={size}; correct config.json or save the model again"
                )


def _new_config(
    source: Source, num_rows: int, moved: Mapping[int, int | None], tokenizer: "PreTrainedTokenizerBase"
) -> dict[str, Any]:
    """The source's config.json with the result's size and ids."""
    config = move_token_ids(copy.deepcopy(source.config), moved, tokenizer, f"{source.place}/config.json")
    owner = config
    for key in vocabulary_path(config_of(source)) or ():
        owner = owner.setdefault(key, {})
    owner["vocab_size"] = num_rows
    return config
