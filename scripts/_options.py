"""How the training scripts start, and what they are told beside TrainingArguments.

python scripts/train_X.py --model MODEL --data DATA --output_dir OUT [--pruning 0.5] [any TrainingArguments]
python scripts/train_X.py --recipe FILE [--set a.b=value] [--resume]
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import torch
from datasets import ClassLabel, DatasetDict, List
from transformers import AutoConfig, EarlyStoppingCallback, HfArgumentParser, TrainerCallback

from hf_compress import CompressionError, Cubic, Data, Distillation, ForwardKL, ModelTeacher, Pruning, Quantization, cli
from hf_compress.inputs.pretrained import from_pretrained
from hf_compress.quantization.scheme import Scheme
from hf_compress.tasks.opened import open_data
from hf_compress.tasks.task import Task


@dataclass
class Options:
    """What every script takes."""

    model: str = field(metadata={"help": "A folder, or a model of the Hub."})
    data: str = field(
        metadata={"help": "A file, a folder with files named train, validation and test, or a data set of the Hub."}
    )
    data_name: str | None = field(default=None, metadata={"help": "The configuration of a Hub data set."})
    max_train: int | None = field(default=None, metadata={"help": "Take at most so many rows for training."})
    max_eval: int | None = field(default=None, metadata={"help": "The same for validation, and for test."})
    pruning: float = field(default=0.5, metadata={"help": "The share of weights that become zero; 0 = none."})
    scheme: str = field(default="W4A16", metadata={"help": "What linear layers are quantized to, or none."})
    group_size: int | None = field(default=None, metadata={"help": "Weights that share a scale, for schemes in groups."})
    ignore: list[str] = field(
        default_factory=list,
        metadata={"help": "Modules beside the head that stay as they are: names, or re: and a pattern."},
    )
    distillation: bool = field(default=True, metadata={"help": "Learn from a teacher."})
    teacher: str | None = field(default=None, metadata={"help": "A folder or a Hub id; else the model as it was."})
    dtype: str = field(default="bfloat16", metadata={"help": "How weights that are not quantized are stored."})
    patience: int | None = field(
        default=None, metadata={"help": "End after so many evaluations without a better one; see load_best_model_at_end."}
    )

    def techniques(self) -> dict[str, Any]:
        """The arguments of a CompressionTrainer: pruned in the first half, and quantized after that or from the start."""
        found: dict[str, Any] = {}
        if self.pruning:
            schedule = Cubic(final=self.pruning, begin="0%", end="50%")
            found["pruning"] = Pruning(schedule=schedule, ignore=(*Pruning.ignore, *self.ignore))
        if self.scheme != "none":
            sized = {} if self.group_size is None else {"group_size": self.group_size}
            found["quantization"] = Quantization(
                scheme=Scheme.create(self.scheme, **sized),
                begin="60%" if self.pruning else "0%",
                ignore=(*Quantization.ignore, *self.ignore),
            )
        if self.distillation:
            losses = [(0.7, ForwardKL(temperature=2.0))]
            found["distillation"] = Distillation(teacher=ModelTeacher(model=self.teacher), losses=losses)
        return found

    @property
    def baseline(self) -> str | None:
        """What a report compares with: the dense model, where anything is done to it."""
        return self.model if self.techniques() else None

    def callbacks(self) -> list[TrainerCallback]:
        """Early stopping, if asked for."""
        return [] if self.patience is None else [EarlyStoppingCallback(self.patience)]

    def load_model(self, auto_class: Any, **changes: Any) -> Any:
        """The model in fp32, because small updates round away in 16 bits; `changes` are of its config."""
        model, loaded = auto_class.from_pretrained(
            self.model, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **changes
        )
        new = [*sorted(loaded["missing_keys"]), *sorted(name for name, *_ in loaded["mismatched_keys"])]
        if new and self.techniques():
            raise CompressionError(
                f"model: {self.model} has no {new[0]} for this task, which must be trained before it is compressed; run the"
                " script with --pruning 0 --scheme none --no_distillation first, and name its result as --model"
            )
        return model

    def load_data(self, task: Task, seed: int) -> DatasetDict:
        """The splits train, validation and test, with what the task reads; those that are missing are cut from train."""
        data = Data(path=self.data, name=self.data_name, max_train=self.max_train, max_eval=self.max_eval)
        return DatasetDict(open_data(data, task, seed)[0])


def number_classes(splits: DatasetDict, column: str, model: str) -> tuple[DatasetDict, dict[str, Any]]:
    """Labels (or lists of labels) as ids, those of a model that knows the same names; and what its config says of them."""
    feature = splits["train"].features[column]
    of_lists = isinstance(feature, List)
    kind = feature.feature if of_lists else feature
    if not isinstance(kind, ClassLabel):
        values = splits["train"][column]
        kind = ClassLabel(names=list(map(str, sorted({one for row in values for one in row} if of_lists else set(values)))))
        splits = splits.cast_column(column, List(kind) if of_lists else kind)
    ids = {name: number for number, name in enumerate(kind.names)}
    known = AutoConfig.from_pretrained(model).label2id
    if known.keys() == ids.keys() and known != ids:
        ids, splits = known, splits.align_labels_with_mapping(known, column)
    return splits, {"num_labels": len(ids), "label2id": ids, "id2label": {number: name for name, number in ids.items()}}


def start(main: Callable[[Any, Any], None], **defaults: Any) -> None:
    """Call `main(options, args)` with what stands on the command line; with `--recipe FILE` run that instead.

    A mistake is one sentence and exit code 2.

    Args:
        main: the classes of its arguments say what there is.
        **defaults: TrainingArguments that the script needs unless the command line says otherwise.
    """
    recipes = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    recipes.add_argument("--recipe")
    known, rest = recipes.parse_known_args()
    if known.recipe is not None:
        sys.argv = ["hf-compress", "run", known.recipe, *rest]
        cli.main()
    hints = get_type_hints(main)
    parser = HfArgumentParser([hints["options"], hints["args"]])
    parser.set_defaults(**defaults)
    options, args = parser.parse_args_into_dataclasses()
    try:
        folder = Path(args.output_dir, "compressed")
        if folder.exists():
            raise CompressionError(f"output_dir: {folder} is there already; remove it, or name another --output_dir")
        from_pretrained(AutoConfig, options.model, "model")
        main(options, args)
    except CompressionError as error:
        print(*(f"{parser.prog}: {line}" for line in str(error).splitlines()), sep="\n", file=sys.stderr)
        sys.exit(2)
