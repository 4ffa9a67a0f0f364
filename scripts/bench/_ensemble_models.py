"""Real data, members and students of ensemble_gain.py: what they are and how they are trained."""

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from hf_compress import (
    AudioClassification,
    CompressionTrainer,
    Data,
    Distillation,
    ForwardKL,
    ImageClassification,
    Linear,
    ModelTeacher,
    SequenceClassification,
    merge_state_dicts,
)
from hf_compress.ensembling.combiner import log_probabilities
from hf_compress.tasks.opened import open_data

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One task: members, cheap to dear, and how they are trained.

    Attributes:
        task: reads the rows.
        auto_class: loads the models.
        members: name -> shape, as `fresh` takes it.
        cheap: the first stage of the cascades.
        large: the last stage of one, and what its quality is compared with.
        student: the shape of the student.
        rows: of the training split.
        training: of members and students.
        fresh: (shape, classes, options) -> an untrained model.
        longer: what students are trained with beside `training`, taught and alone: small ones from scratch take more steps.
        alike: members of the student's shape that began from one pre-trained model: their weights can be averaged.
        head_first: the new head begins as the classifier of the untrained model's features.
        processor: options -> what makes inputs.
    """

    task: Any
    auto_class: Any
    members: Mapping[str, Mapping[str, Any]]
    cheap: str
    large: str
    student: Mapping[str, Any]
    rows: int
    training: Mapping[str, Any]
    fresh: Callable[..., Any]
    processor: Callable[[argparse.Namespace], Any]
    longer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    alike: tuple[str, ...] = ()
    head_first: bool = False


def fresh_minilm(shape: Mapping[str, Any], classes: Mapping[str, Any], options: argparse.Namespace) -> Any:
    """Some layers of the pre-trained encoder, and a new head.

    The last layer stays in each: it is the one that gathers the text in the first token, which the head reads. The encoder
    was trained by the mean over tokens, so its pooling layer is as random as the head, and begins as the identity instead.
    """
    model = AutoModelForSequenceClassification.from_pretrained(options.model, dtype=torch.float32, **classes)
    encoder, pooler = model.bert.encoder, model.bert.pooler.dense
    encoder.layer = nn.ModuleList([encoder.layer[place] for place in shape["layers"]])
    model.config.num_hidden_layers = len(encoder.layer)
    with torch.no_grad():
        nn.init.eye_(pooler.weight)
        nn.init.zeros_(pooler.bias)
    return model


def fresh_vit(shape: Mapping[str, Any], classes: Mapping[str, Any], options: argparse.Namespace) -> Any:
    width = shape["hidden_size"]
    rest = {"intermediate_size": 3 * width, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
    return ViTForImageClassification(ViTConfig(**rest, **shape, **classes))


def fresh_ast(shape: Mapping[str, Any], classes: Mapping[str, Any], options: argparse.Namespace) -> Any:
    width = shape["hidden_size"]
    rest = {"intermediate_size": 3 * width, "num_attention_heads": 4, "max_length": 64, "num_mel_bins": 64}
    steps = {"patch_size": 16, "frequency_stride": 16, "time_stride": 16}
    return ASTForAudioClassification(ASTConfig(**rest, **steps, **shape, **classes))


SETTINGS = {
    "banking77": Setting(
        task=SequenceClassification(text="text", label="label", length=64),
        auto_class=AutoModelForSequenceClassification,
        members={
            "one layer": {"layers": [5]},
            "two layers a": {"layers": [0, 5]},
            "two layers b": {"layers": [0, 5]},
            "three layers": {"layers": [0, 2, 5]},
            "six layers": {"layers": list(range(6))},
        },
        cheap="two layers a",
        large="six layers",
        student={"layers": [0, 5]},
        rows=3000,
        training={
            "num_train_epochs": 2,
            "learning_rate": 2e-4,
            "per_device_train_batch_size": 32,
            "train_sampling_strategy": "group_by_length",
        },
        fresh=fresh_minilm,
        processor=lambda options: AutoTokenizer.from_pretrained(options.model),
        alike=("two layers a", "two layers b"),
        head_first=True,
    ),
    "cifar10": Setting(
        task=ImageClassification(image="image", label="label"),
        auto_class=AutoModelForImageClassification,
        members={
            "64 x 2": {"hidden_size": 64, "num_hidden_layers": 2},
            "128 x 4 a": {"hidden_size": 128, "num_hidden_layers": 4},
            "128 x 4 b": {"hidden_size": 128, "num_hidden_layers": 4},
            "128 x 4 c": {"hidden_size": 128, "num_hidden_layers": 4},
            "128 x 6": {"hidden_size": 128, "num_hidden_layers": 6},
        },
        cheap="64 x 2",
        large="128 x 6",
        student={"hidden_size": 96, "num_hidden_layers": 3},
        rows=20000,
        training={"num_train_epochs": 5, "learning_rate": 1e-3, "per_device_train_batch_size": 64},
        fresh=fresh_vit,
        processor=lambda options: ViTImageProcessorPil(size={"height": 32, "width": 32}),
    ),
    "fsdd": Setting(
        task=AudioClassification(audio="audio", label="label"),
        auto_class=AutoModelForAudioClassification,
        members={
            "32 x 1": {"hidden_size": 32, "num_hidden_layers": 1},
            "96 x 3 a": {"hidden_size": 96, "num_hidden_layers": 3},
            "96 x 3 b": {"hidden_size": 96, "num_hidden_layers": 3},
        },
        cheap="32 x 1",
        large="96 x 3 a",
        student={"hidden_size": 48, "num_hidden_layers": 2},
        rows=2220,
        training={"num_train_epochs": 15, "learning_rate": 1e-3, "per_device_train_batch_size": 32},
        longer={"num_train_epochs": 45},
        fresh=fresh_ast,
        processor=lambda options: ASTFeatureExtractor(num_mel_bins=64, max_length=64, sampling_rate=8000),
    ),
}


class Rows:
    """The splits of a task as models take them, made once."""

    def __init__(self, name: str, setting: Setting, seed: int, options: argparse.Namespace) -> None:
        self.setting, self.processor = setting, setting.processor(options)
        raw, _ = open_data(Data(path=str(options.data / name)), setting.task, seed)
        raw = datasets.DatasetDict({split: raw[split] for split in SPLITS})
        raw["train"] = raw["train"].shuffle(seed=seed).select(range(min(setting.rows, len(raw["train"]))))
        names = raw["train"].features[setting.task.label].names
        self.classes = {
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {label: number for number, label in enumerate(names)},
        }
        examples = setting.task.examples(raw, self.processor, names)
        collate = setting.task.collator(self.processor)
        arrays = not isinstance(setting.task, SequenceClassification)  # slow to make, and of one shape
        self.splits = {split: [examples[split][k] for k in range(len(examples[split]))] for split in SPLITS}
        for split, made in self.splits.items():
            if arrays:
                self.splits[split] = [{key: value[0] for key, value in collate([one]).items()} for one in made]
            else:  # rows of about one length in a batch, so that little is padding
                self.splits[split] = made if split == "train" else sorted(made, key=lambda row: len(row["input_ids"]))
        self.collate = together if arrays else collate

    def batches(self, split: str) -> list[dict[str, Tensor]]:
        rows = self.splits[split]
        return [dict(self.collate(rows[start : start + 64])) for start in range(0, len(rows), 64)]


def together(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors of one shape as one batch."""
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


@torch.no_grad()
def fit_head(model: Any, rows: Rows) -> None:
    """A classifier of 77 classes that begins at random distorts a pre-trained encoder for most of a short training."""
    model.eval()
    features, labels = [], []
    for batch in rows.batches("train"):
        labels.append(batch.pop("labels"))
        features.append(model.base_model(**batch).pooler_output)
    found = LogisticRegression(C=1.0, max_iter=200).fit(torch.cat(features).numpy(), torch.cat(labels).numpy())
    assert list(found.classes_) == list(range(model.config.num_labels))
    model.classifier.weight.copy_(torch.from_numpy(found.coef_))
    model.classifier.bias.copy_(torch.from_numpy(found.intercept_))


def train(
    model: Any,
    rows: Rows,
    seed: int,
    options: argparse.Namespace,
    teacher: Path | None = None,
    longer: Mapping[str, Any] | None = None,
) -> Any:
    """By the labels, or by the labels and a teacher."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            **{**rows.setting.training, **(longer or {})},
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            weight_decay=0.01,
            seed=seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            use_cpu=True,
        )
        given = {"model": model, "args": arguments, "train_dataset": rows.splits["train"], "data_collator": rows.collate}
        if teacher is None:
            Trainer(**given).train()
        else:
            losses = [(options.weight, ForwardKL(temperature=options.temperature))]
            taught = Distillation(teacher=ModelTeacher(model=str(teacher)), losses=losses)
            CompressionTrainer(**given, distillation=taught).train()
    return model.eval()


def untrained(shape: Mapping[str, Any], rows: Rows, options: argparse.Namespace) -> Any:
    """A model of that shape as every training begins."""
    model = rows.setting.fresh(shape, rows.classes, options)
    if rows.setting.head_first:
        fit_head(model, rows)
    return model


def average(folders: Sequence[Path], rows: Rows) -> Any:
    """A model whose weights are the mean of several models' of one shape."""
    models = [rows.setting.auto_class.from_pretrained(folder) for folder in folders]
    merged = merge_state_dicts(Linear(), {str(k): one.state_dict() for k, one in enumerate(models)})
    models[0].load_state_dict(merged)
    return models[0]


def trained(
    folder: Path,
    begin: Callable[[], Any],
    rows: Rows,
    seed: int,
    options: argparse.Namespace,
    teacher: Path | None = None,
    longer: Mapping[str, Any] | None = None,
) -> Path:
    """A model in `folder`; trained from what `begin` makes unless it is there."""
    if not folder.exists():
        torch.manual_seed(seed)
        model = train(begin(), rows, seed, options, teacher, longer)
        part = folder.with_name(folder.name + ".part")
        model.save_pretrained(part)
        rows.processor.save_pretrained(part)
        part.rename(folder)
    return folder


@torch.inference_mode()
def asked(folder: Path, rows: Rows, split: str) -> tuple[Tensor, Tensor]:
    """Log-probabilities (N, C) of what the stock Auto class loads, and labels (N,)."""
    model = rows.setting.auto_class.from_pretrained(folder).eval()
    logits, labels = [], []
    for batch in rows.batches(split):
        labels.append(batch.pop("labels"))
        logits.append(model(**batch).logits)
    return log_probabilities(torch.cat(logits)), torch.cat(labels)
