"""Which rows of a vocabulary stay, by the pieces that are used, and the model without the others."""

import copy
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from hf_compress._errors import CompressionError
from hf_compress._forward.dry_run import build
from hf_compress._sharding.contract import original_class
from hf_compress.checkpoints.token_ids import move_token_ids
from hf_compress.pruning.shrink.along import cut_along
from hf_compress.pruning.shrink.piece import Piece
from hf_compress.pruning.shrink.pieces import check_stock
from hf_compress.pruning.shrink.same_answers import check_answers
from hf_compress.pruning.shrink.smaller_model import filled
from hf_compress.pruning.shrink.tokenizer_pieces import always_kept, check_kind, closed, ids_of_pieces, rewritten


@dataclass(frozen=True, kw_only=True)
class VocabularyChoice:
    """Which rows of a vocabulary stay.

    Attributes:
        kept: ids of the pieces that stay, ascending; the place of one is its id afterwards.
        rows_before: of the embeddings.
        tokenizer: that knows the pieces that stay.
    """

    kept: tuple[int, ...]
    rows_before: int
    tokenizer: Any

    @property
    def moved(self) -> dict[int, int | None]:
        """Id -> the new one; None for what goes."""
        return {**dict.fromkeys(range(self.rows_before)), **{old: new for new, old in enumerate(self.kept)}}

    def __str__(self) -> str:
        return f"{len(self.kept):,} of {self.rows_before:,} rows of the vocabulary stay"


def rows_of(model: Any) -> int:
    """Rows of the embeddings that read pieces.

    Raises:
        CompressionError: there is no such table.
    """
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except Exception as error:  # each class says in its own way that it has none
        raise CompressionError(f"{type(model).__name__} has no table with a row for each piece, so none can go") from error


def choose_vocabulary(
    tokenizer: Any, model: Any, configs: Iterable[tuple[str, Any]], used: Iterable[int], keep: Sequence[str] = ()
) -> VocabularyChoice:
    """Close the pieces that are used under what every text, both configs, the merges and the model need besides.

    Args:
        tokenizer: a fast one; stays as it is.
        model: perhaps without memory.
        configs: the model's config and generation config, each with a name for refusals.
        used: ids of pieces.
        keep: pieces to keep beside those, as the tokenizer spells them.

    Raises:
        CompressionError: the tokenizer is slow, of a kind that cannot be rewritten, or another model's; a piece in `keep`
            is unknown.
    """
    rows = rows_of(model)
    data = _description(tokenizer, rows)
    needed = {*always_kept(data), *_asked_for(keep, data), *_ids_in(configs, tokenizer), *_before_padding(model)}
    kept_ids, merges = closed(data, {*used, *needed})
    kept = tuple(sorted(index for index in kept_ids if 0 <= index < rows))
    choice = VocabularyChoice(kept=kept, rows_before=rows, tokenizer=None)
    smaller = _loaded(tokenizer, rewritten(data, choice.moved, merges))
    return VocabularyChoice(kept=kept, rows_before=rows, tokenizer=smaller)


def check_rewritable(tokenizer: Any, model: Any, keep: Sequence[str] = ()) -> None:
    """Refuse early what `choose_vocabulary` refuses whatever is used.

    Raises:
        CompressionError: see there.
    """
    _asked_for(keep, _description(tokenizer, rows_of(model)))


def without_rows(model: Any, choice: VocabularyChoice) -> Any:
    """A model of the same class with the rows that stay, and its ids in both configs.

    Args:
        model: of as many rows as the choice was made for; stays as it is.
        choice: which stay.

    Raises:
        CompressionError: it has another number of rows, its class builds other tensors, or it answers otherwise without the
            rows.
    """
    if (rows := rows_of(model)) != choice.rows_before:
        raise CompressionError(f"the vocabulary was chosen for {choice.rows_before} rows, and this model has {rows}")
    config = config_without_rows(model.config, choice)
    built = build(original_class(model), config, None, "meta")
    if built is None:
        raise CompressionError(f"{type(model).__name__} cannot be built from its config alone; shrink the model inside it")
    names = dict.fromkeys([*model.state_dict(), *(name for name, _ in model.named_buffers())])
    pieces = cut_along(model, {name: Piece(source=name) for name in names}, built, choice.rows_before, choice.kept)
    check_stock(built, model, pieces)
    small = filled(built, model, pieces)
    if getattr(small, "generation_config", None) is not None:
        _set_ids(small.generation_config, choice.moved, choice.tokenizer, "generation_config")
    check_answers(model, small, choice.kept)
    return small


def config_without_rows(config: Any, choice: VocabularyChoice) -> Any:
    """A copy of a config with the smaller vocabulary and the same tokens under their new ids."""
    config = copy.deepcopy(config)
    _set_ids(config, choice.moved, choice.tokenizer, "config")
    config.get_text_config().vocab_size = len(choice.kept)
    return config


def configs_of(model: Any) -> Iterator[tuple[str, Any]]:
    """What names ids beside a model."""
    yield "config", model.config
    if getattr(model, "generation_config", None) is not None:
        yield "generation_config", model.generation_config


def _description(tokenizer: Any, rows: int) -> dict[str, Any]:
    """tokenizer.json."""
    if not getattr(tokenizer, "is_fast", False):
        raise CompressionError(
            f"{type(tokenizer).__name__} is no fast tokenizer, and only one with a tokenizer.json can be rewritten; load it"
            " with AutoTokenizer"
        )
    data: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    check_kind(data)
    last = max(ids_of_pieces(data).values())
    if last >= rows:
        raise CompressionError(
            f"the tokenizer has a piece of id {last}, and the model {rows} rows of embeddings; give the model's own"
        )
    return data


def _asked_for(keep: Sequence[str], data: dict[str, Any]) -> set[int]:
    pieces = ids_of_pieces(data)
    unknown = [piece for piece in keep if piece not in pieces]
    if isinstance(keep, str) or unknown:
        what = keep if isinstance(keep, str) else unknown
        raise CompressionError(f"keep={what!r}: the tokenizer has no such piece; give pieces as it spells them, in a list")
    return {pieces[piece] for piece in keep}


def _before_padding(model: Any) -> range:
    """The ids up to the padding's, where a table of positions counts from it (RoBERTa and its kin, M2M100).

    Without one of them all positions would read other rows.
    """
    marks = [
        module.padding_idx
        for name, module in model.named_modules()
        if "position" in name.rpartition(".")[2] and isinstance(getattr(module, "padding_idx", None), int)
    ]
    return range(max(marks, default=-1) + 1)


class _Asked(dict[int, int | None]):
    """Notes which ids are looked up."""

    def get(self, key: Any, default: Any = None) -> Any:
        if isinstance(key, int):
            self[key] = key
        return default


def _ids_in(configs: Iterable[tuple[str, Any]], tokenizer: Any) -> list[int]:
    asked = _Asked()
    for place, config in configs:
        move_token_ids(_plain(config), asked, tokenizer, place)
    return list(asked)


def _loaded(tokenizer: Any, data: dict[str, Any]) -> Any:
    """The tokenizer with another tokenizer.json, as everybody will load it."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        (Path(folder) / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    loaded.name_or_path = tokenizer.name_or_path
    return loaded


def _plain(config: Any) -> dict[str, Any]:
    """As it would lie on disk, with what is as in every config."""
    plain: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return plain


def _set_ids(config: Any, moved: Mapping[int, int | None], tokenizer: Any, place: str) -> None:
    """Put the new ids into a config, nested ones included."""
    plain = _plain(config)
    for key, value in move_token_ids(plain, moved, tokenizer, place).items():
        own = getattr(config, key, None)
        if isinstance(value, dict) and hasattr(own, "to_dict"):
            _set_ids(own, moved, tokenizer, f"{place}.{key}")
        elif value != plain[key]:
            setattr(config, key, value)
