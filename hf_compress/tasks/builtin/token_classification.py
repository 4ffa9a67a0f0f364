"""A label for every word of a sentence."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress.inputs.columns import Column
from hf_compress.inputs.labels import check_classes, label_ids, label_names, require_named
from hf_compress.inputs.row_checks import RowCheck
from hf_compress.inputs.sections import Data
from hf_compress.inputs.streams import is_stream, mapped
from hf_compress.inputs.wrong_rows import Wrong
from hf_compress.tasks.cut import listed
from hf_compress.tasks.heads import TOKEN_CLASSIFICATION, Head
from hf_compress.tasks.metrics.builtin.accuracy import Accuracy
from hf_compress.tasks.metrics.builtin.seqeval import Seqeval
from hf_compress.tasks.metrics.classification import classify
from hf_compress.tasks.metrics.counted import Decode, first
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.padding import PadRows
from hf_compress.tasks.row_kind import IGNORED
from hf_compress.tasks.task import Splits
from hf_compress.tasks.text import TokenTask, require_places

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig

_TAGS = "tags"
"""The column of the examples that keeps the names of the labels, and the labels of the words that are read."""


@dataclass(frozen=True, kw_only=True)
class TokenClassification(TokenTask, name="token_classification"):
    """Sentences, cut to `length` tokens, with one label for each word: named entities, parts of speech.

    Words are put together with spaces and tokenized, as a pipeline tokenizes the same sentence. A word's label is that of
    its first token, the others have none (-100), and so have special tokens. Words behind `length`, and words that the
    tokenizer makes nothing of, are not predicted and not measured.

    Attributes:
        tokens: the column with lists of words.
        labels: the column with lists of labels, one for each word.
        length: tokens that are read of a sentence.
        label_all: in training, a word's other tokens have its label, too; B-X goes on as I-X where there is one.
        classes: the names of the labels in the order of their ids; by default as the data has them.
        entities: labels are O, B-TYPE, I-TYPE, ..., and measured by whole entities; false: by words.
    """

    head: ClassVar[Head] = TOKEN_CLASSIFICATION
    streams: ClassVar[bool] = True

    tokens: str = "tokens"
    labels: str = "labels"
    label_all: bool = False
    classes: tuple[str, ...] = ()
    entities: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_classes(self.classes)

    @property
    def predicts(self) -> Predictions | None:
        """Tags of sentences, or classes of words."""
        return "tags" if self.entities else "classes"

    def default_metrics(self) -> tuple[Metric, ...]:
        """Entity F1, or accuracy."""
        return (Seqeval() if self.entities else Accuracy(),)

    @property
    def decided(self) -> tuple[str, ...]:
        """The labels are the data's."""
        return (*super().decided, "id2label", "label2id")

    def columns(self) -> tuple[Column, ...]:
        """Words and labels."""
        from datasets import ClassLabel, List, Value

        return (
            Column(key="tokens", name=self.tokens, feature=List(Value("string"))),
            Column(key="labels", name=self.labels, feature=List(ClassLabel(names=["a", "b"]))),
        )

    def texts(self, split: "Dataset") -> Iterable[str]:
        """Sentences."""
        return (" ".join(words) for words in split[self.tokens])

    def row_checks(self) -> tuple[RowCheck, ...]:
        """Rows in which a word has no label, or a label no word."""
        return (*super().row_checks(), RowCheck(key="labels", find=self._unequal, reads=("tokens",)))

    def _unequal(self, split: "Dataset") -> Iterator[Wrong]:
        import pyarrow.compute

        table = split.with_format("arrow")[:]
        words, labels = (
            pyarrow.compute.list_value_length(table[column]).to_numpy() for column in (self.tokens, self.labels)
        )
        for row in (words != labels).nonzero()[0]:
            says = f"has {words[row]} tokens and {labels[row]} labels"
            yield Wrong(position=int(row), says=says, way_out="give one label for each token")

    def label_names(self, splits: Splits, data: Data) -> list[str]:
        """Those of the column."""
        self.columns()[1].check(splits, data.path)
        require_named(splits, self.labels, data, self.classes)
        names = label_names(splits, self.labels, data.max_train, "labels", self.classes)
        if self.entities:
            try:
                Seqeval().check("tags", names)
            except CompressionError as error:
                raise CompressionError(f"task.labels: {error}; or write entities: false, which measures words") from error
        return names

    def check_config(self, config: "PretrainedConfig", processor: Any) -> None:
        """Refuse a tokenizer that does not say where its tokens stand, too."""
        super().check_config(config, processor)
        require_places(processor, "labels of words")

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """Token ids, cut to `length`, and a label for each; sentences without words are left out."""
        from datasets import ClassLabel, List

        ids = label_ids(splits, self.labels, labels, self.classes, "labels")
        begins = {name: f"I-{name[2:]}" for name in labels if name.startswith("B-") and f"I-{name[2:]}" in labels}
        inside = [labels.index(begins.get(name, name)) for name in labels]

        def encode(batch: dict[str, list[Any]], later: list[int]) -> dict[str, list[Any]]:
            rows = [row for row in zip(batch[self.tokens], batch[self.labels], strict=True) if row[0]]
            made: dict[str, list[Any]] = {"input_ids": [], "attention_mask": [], "labels": [], _TAGS: []}
            for words, tags in rows:
                encoded = processor(" ".join(words), truncation=True, max_length=self.length, return_offsets_mapping=True)
                places = words_of_tokens(words, encoded.pop("offset_mapping"))
                numbers = [ids[tag] for tag in tags]
                made["labels"].append(_labelled(places, numbers, later))
                made[_TAGS].append([numbers[word] for word in dict.fromkeys(places) if word is not None])
                for key, value in encoded.items():
                    made.setdefault(key, []).append(value)
            return made

        examples: Splits = {}
        for name, split in splits.items():
            later = inside if self.label_all and name == "train" else [IGNORED] * len(labels)
            encoded = mapped(split, encode, name, fn_kwargs={"later": later})
            if not is_stream(encoded):
                if len(encoded) == 0:
                    raise CompressionError(f"task.tokens: the {name} split has no sentence with words; add some")
                encoded = encoded.cast_column(_TAGS, List(ClassLabel(names=labels)))
            examples[name] = encoded
        return examples

    def describe_examples(self, splits: Splits, examples: Splits) -> dict[str, str]:
        """How many words are not read, and so neither predicted nor measured."""
        counts = {}
        for name, split in splits.items():
            words = _num_items(split, self.tokens)
            counts[name] = (words - _num_items(examples[name], _TAGS), words)
        return {f"words not read, by {self.length} tokens or by the tokenizer": listed(counts, "words")}

    def collator(self, processor: Any) -> Any:
        """Pads to the longest sentence of a batch."""
        return PadRows(processor)

    def preprocess_logits(self) -> Any:
        """The likeliest label of every token."""
        return _likeliest

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
        """The metrics, and nll in nats per word."""
        batches, decode = self.batches(examples, processor, batch_size), self.decoder(examples, rows, processor)
        return classify(model, batches, description, self.all_metrics(metrics), decode, "tokens")

    def decoder(self, examples: "Dataset", rows: "Dataset", processor: Any) -> Decode:
        """Of logits (B, T, V), or the likeliest labels (B, T), and labels (B, T): tags by sentence, or ids by word."""
        names = examples.features[_TAGS].feature.names

        def decode(found: Any, labels: Any) -> tuple[list[Any], list[Any]]:
            found = found if found.ndim == labels.ndim else found.argmax(-1)
            counted = labels != IGNORED
            if not self.entities:
                return found[counted].tolist(), labels[counted].tolist()
            predictions, references = (
                [[names[id] for id in row[kept]] for row, kept in zip(ids, counted, strict=True)] for ids in (found, labels)
            )
            return predictions, references

        return decode


def _num_items(split: "Dataset", column: str) -> int:
    """Of all lists of a column."""
    import pyarrow.compute

    lengths = pyarrow.compute.list_value_length(split.with_format("arrow")[:][column])
    return pyarrow.compute.sum(lengths, min_count=0).as_py()


def words_of_tokens(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[int | None]:
    """Which word each token belongs to, by its last character; None for special tokens and for a space alone.

    Args:
        words: were put together with one space.
        offsets: first and last + 1 character of each token; (0, 0) for special tokens.
    """
    begins = [0, *accumulate(len(word) + 1 for word in words[:-1])]

    def word_at(begin: int, end: int) -> int | None:
        place = bisect_right(begins, end - 1) - 1
        return place if end > begin and end <= begins[place] + len(words[place]) else None

    return [word_at(begin, end) for begin, end in offsets]


def _labelled(places: Sequence[int | None], tags: Sequence[int], later: Sequence[int]) -> list[int]:
    """A label for each token: its word's at the first, `later[word's]` at the others."""
    before = [None, *places[:-1]]
    return [
        IGNORED if word is None else later[tags[word]] if word == last else tags[word]
        for word, last in zip(places, before, strict=True)
    ]


def _likeliest(logits: Any, labels: Any) -> Any:
    return first(logits).argmax(-1)
