"""What tasks share whose models write a text, token after token, about what they read or hear."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress.inputs.columns import Column
from hf_compress.inputs.models import num_positions
from hf_compress.inputs.row_checks import RowCheck
from hf_compress.inputs.sections import FreshModel, FreshTokenizer
from hf_compress.inputs.tokenizers import tokenizer_of
from hf_compress.inputs.wrong_rows import empty_rows
from hf_compress.tasks.cut import encode_cut, how_many
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.perplexity import likelihood_of_labels
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.task import Splits, check_count
from hf_compress.tasks.text import VocabularyTask
from hf_compress.tasks.written import ROW, Written

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel

_CUT = "target_cut"
"""The column of the examples that says whether `target_length` cut the target."""


@dataclass(frozen=True, kw_only=True)
class Generating(VocabularyTask):
    """A task of an encoder-decoder that is measured by the texts it generates; stands before what reads the input.

    Attributes:
        target: the column with what is to be written: a text, or a list of texts that are each right, of which the first
            is trained on.
        target_length: tokens of a target at most, and of what is generated.
        num_beams: of the search in evaluations; None = as the model's own settings say.
    """

    generates: ClassVar[bool] = True
    token_columns: ClassVar[tuple[str, ...]] = ("labels",)
    predicts: ClassVar[Predictions | None] = "texts"

    target: str = "target"
    target_length: int = 128
    num_beams: int | None = None

    def __post_init__(self) -> None:
        check_count(self.target_length, "target_length", 2)
        if self.num_beams is not None:
            check_count(self.num_beams, "num_beams")

    @property
    def decided(self) -> tuple[str, ...]:
        """With which token a decoder starts is the tokenizer's, too."""
        return (*super().decided, "decoder_start_token_id")

    # The data.

    @property
    def target_column(self) -> Column:
        """What is to be written."""
        from datasets import List, Value

        text = Value("string")
        return Column(key="target", name=self.target, feature=(text, List(text)))

    def targets(self, rows: Any) -> list[list[str]]:
        """What is right for every row."""
        return [[one] if isinstance(one, str) else list(one) for one in rows[self.target]]

    def texts(self, split: "Dataset") -> Iterable[str]:
        """Targets."""
        return (text for texts in self.targets(split) for text in texts)

    def row_checks(self) -> tuple[RowCheck, ...]:
        """Empty targets."""
        targets = RowCheck(key="target", find=lambda split: empty_rows(self.targets(split), "target"))
        return (*super().row_checks(), targets)

    def begins_by_itself(self, tokenizer: Any) -> int | None:
        """Of the special tokens around a target the one that a model begins with unasked, which is no label."""
        return None

    def _around_targets(self, tokenizer: Any) -> tuple[int, list[int]]:
        """How many tokens the tokenizer puts before a target that are no labels, and which end it does not put behind."""
        probe, end = tokenizer(text_target="a")["input_ids"], end_of(tokenizer)
        return int(probe[0] == self.begins_by_itself(tokenizer)), [] if end in probe[1:] else [end]

    def encode_targets(self, batch: Any, numbers: Sequence[int], tokenizer: Any) -> dict[str, list[Any]]:
        """Columns of the examples: labels, the row that they are of, and whether they are cut.

        Args:
            batch: raw rows.
            numbers: of the rows.
            tokenizer: puts its special tokens around a target.
        """
        texts = [texts[0] for texts in self.targets(batch)]
        begins, ends = self._around_targets(tokenizer)
        labels, cut = encode_cut(tokenizer, self.target_length - len(ends) + begins, text_target=texts)
        return {"labels": [ids[begins:] + ends for ids in labels["input_ids"]], _CUT: cut, ROW: list(numbers)}

    def describe_examples(self, splits: Splits, examples: Splits) -> dict[str, str]:
        """How many targets are cut."""
        return {f"targets cut at {self.target_length} tokens": how_many(_CUT, examples)}

    def likelihood_tokens(self, rows: "Dataset", processor: Any) -> int:
        """Those of the targets, the token at their end among them."""
        tokenizer = tokenizer_of(processor)
        begins, ends = self._around_targets(tokenizer)
        texts = [texts[0] for texts in self.targets(rows.select_columns([self.target])[:])]
        return sum(len(ids) - begins + len(ends) for ids in tokenizer(text_target=texts, verbose=False)["input_ids"])

    # The model.

    def config_changes(
        self, model: str | FreshModel, config: "PretrainedConfig", processor: Any, tokenizer: str | FreshTokenizer | None
    ) -> dict[str, Any]:
        """Where fresh weights begin and end to write."""
        changes = super().config_changes(model, config, processor, tokenizer)
        if not changes or not isinstance(model, FreshModel):
            return changes
        end = changes["eos_token_id"] if processor is None else end_of(tokenizer_of(processor))
        forced = {"forced_eos_token_id": end} if getattr(config, "forced_eos_token_id", None) is not None else {}
        return {**changes, "eos_token_id": end, "decoder_start_token_id": changes["pad_token_id"], **forced}

    def check_config(self, config: "PretrainedConfig", processor: Any) -> None:
        """Refuse a tokenizer that does not say where a text ends, too."""
        own = tokenizer_of(processor)
        if own is not None:
            end_of(own)
        super().check_config(config, processor)

    def check_model(self, model: "PreTrainedModel") -> None:
        """Refuse targets that are longer than the decoder's positions."""
        super().check_model(model)
        limits = [getattr(model.config, name, None) for name in ("max_decoder_position_embeddings", "max_target_positions")]
        limit = next((one for one in limits if one is not None), None)
        check_length(self.target_length, "target_length", num_positions(model) if limit is None else limit)

    def finish_model(self, model: "PreTrainedModel", processor: Any) -> None:
        """What a model writes by itself is not shorter than what it learned, where its settings say nothing."""
        settings = model.generation_config
        if settings.max_length is None and settings.max_new_tokens is None:
            settings.max_length = self.target_length + 1

    # Training and measuring.

    @property
    def training_defaults(self) -> Mapping[str, Any]:
        """Evaluations generate; the first token is the start, which is no label."""
        return {
            **super().training_defaults,
            "predict_with_generate": True,
            "generation_max_length": self.target_length + 1,
            "generation_num_beams": self.num_beams,
        }

    def refused_training(self, training: Mapping[str, Any], metrics: Sequence[Metric] = ()) -> dict[str, str]:
        """What the task says itself, because reports are measured with it, too."""
        refused = super().refused_training(training, metrics)
        if training.get("predict_with_generate") is False:
            refused["predict_with_generate"] = "false would measure texts that nobody wrote; leave it out"
        if training.get("label_smoothing_factor"):
            refused["label_smoothing_factor"] = (
                "the Trainer's smoothing takes away the labels of which an encoder-decoder makes its decoder's inputs;"
                " leave it out, a teacher smooths too"
            )
        for key, own in (("generation_max_length", "target_length"), ("generation_num_beams", "num_beams")):
            if key in training:
                refused[key] = f"the task says this, for reports too; write task: {{..., {own}: {training[key]}}}"
        return refused

    def compute_metrics(self, examples: "Dataset", rows: "Dataset", processor: Any, metrics: Sequence[Metric] = ()) -> Any:
        """The metrics of what is generated, against all that is right for its row."""
        right = self.targets(rows.select_columns([self.target])[:])
        references = [texts[0] if len(texts) == 1 else texts for texts in right]
        return Written(examples, references, tokenizer_of(processor), self.all_metrics(metrics))

    def evaluate(
        self,
        model: Any,
        examples: "Dataset",
        rows: "Dataset",
        processor: Any,
        batch_size: int,
        description: str,
        metrics: Sequence[Metric] = (),
    ) -> dict[str, float]:
        """The metrics of what is generated, and nll in nats per token of the targets, whatever the batches."""
        found = super().evaluate(model, examples, rows, processor, batch_size, description, metrics)
        del found["loss"]  # a mean of batches' means
        return {**found, **likelihood_of_labels(model, self.batches(examples, processor, batch_size), description)}


def end_of(tokenizer: Any) -> int:
    """The token that a text ends with.

    Raises:
        CompressionError: there is none.
    """
    for name in ("eos_token_id", "sep_token_id"):  # BERT has the second
        end: int | None = getattr(tokenizer, name, None)
        if end is not None:
            return end
    raise CompressionError(
        f"tokenizer: {type(tokenizer).__name__} has no token for the end of a text, so a model cannot learn where to stop;"
        " name another"
    )


def check_length(length: int, key: str, limit: int | None) -> None:
    """Refuse more tokens than a model has positions.

    Raises:
        CompressionError: at `task.<key>`.
    """
    if limit is not None and length > limit:
        raise CompressionError(f"task.{key}: {length} tokens are more than the model's {limit} positions")
