"""Every head that distillation knows, over the tiny models of all architectures: what happens in the first step.

For each class of the Auto mappings (text, images, video, sound) a tiny model is built on the CPU and given two rows:

    trains     the frozen copy's divergence is exactly 0 before the first step, the task loss is the head's own, and a step
               of two micro-batches changes the weights
    trains*    the same, and the log says that the head's own loss has terms which distillation leaves out
    refused    one sentence when the trainer is made
    failed     anything else

`gradient` is |g - g_whole| / |g_whole| between two micro-batches of one row and one of two, without a teacher: of the plain
Trainer, and with the mixin's exact task loss. Batch statistics (ResNet and its kin) and router losses depend on the split.

    python scripts/sweep_distillation.py run out.jsonl [kind ...]     # goes on where it stopped
    python scripts/sweep_distillation.py table out.jsonl > table.txt
"""

import collections
import copy
import datetime
import importlib.metadata
import json
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from _tiny_models import KINDS, CannotBuildError, build, reason
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator
from transformers.models.auto import modeling_auto

from hf_compress import CompressionTrainer, Distillation, ForwardKL
from hf_compress._errors import CompressionError
from hf_compress._forward.probe import probe_inputs
from hf_compress.tasks.task_loss import task_kind
from hf_compress.training.exact_task_loss import hands_on_items

HEADS = {
    **{kind: name for kind, name in KINDS.items() if kind != "CTC"},
    "image and text to text": "IMAGE_TEXT_TO_TEXT",
    "token classification": "TOKEN_CLASSIFICATION",
    "video classification": "VIDEO_CLASSIFICATION",
}


class _Gradient(TrainerCallback):
    """Keeps the gradient as the optimizer would see it."""

    def __init__(self) -> None:
        self.value = torch.zeros(0)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.value = torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])


def heads() -> list[tuple[str, str, str]]:
    """(kind, model type, class)."""
    found = []
    for kind, name in HEADS.items():
        mapping: Any = getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES")
        for model_type, classes in mapping.items():
            found.append((kind, model_type, classes if isinstance(classes, str) else classes[0]))
    return found


def rows_for(model: nn.Module) -> list[dict[str, Tensor]]:
    """Two rows with labels; the second has one label less."""
    config: Any = model.config
    batch = probe_inputs(model)
    if getattr(config, "is_encoder_decoder", False) and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = 0  # every released checkpoint has one
    if batch is None:
        raise CannotBuildError("the config does not say what the forward takes")
    kind = task_kind(model)
    if kind == "single_label":
        batch["labels"] = torch.tensor([0, config.num_labels - 1])
    else:
        tokens = batch["decoder_input_ids"] if config.is_encoder_decoder else batch["input_ids"]
        labels = tokens.clone()
        if config.is_encoder_decoder:
            batch.pop("decoder_input_ids")
        elif "TokenClassification" in type(model).__name__:
            labels = tokens % config.num_labels
        labels[1, -1] = -100
        batch["labels"] = labels
    return [{key: value[row] for key, value in batch.items()} for row in range(2)]


def still(model: nn.Module) -> nn.Module:
    """Without dropout and without masks over what it hears, which only the student has while it trains."""
    for module in model.modules():
        if hasattr(getattr(module, "config", None), "apply_spec_augment"):
            module.config.apply_spec_augment = False  # type: ignore[union-attr]
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
        for holder in (getattr(module, "config", None),):
            for name, value in list(vars(holder).items()) if holder is not None else ():
                if "drop" in name and isinstance(value, float):
                    setattr(holder, name, 0.0)
    return model


def divergence(trainer: Any) -> float:
    """Of the student from its frozen copy, in evaluation mode, in which both compute the same."""
    batch = default_data_collator(trainer.train_dataset)
    trainer.model.eval()
    with torch.no_grad():
        sums = trainer._own_loss.distillation._sums_of(trainer, trainer.model, batch)[0]
    return float(sums.distilled)


def train(cls: Any, built: nn.Module, split: tuple[int, int], folder: str, **jobs: Any) -> tuple[Any, Tensor]:
    """(trainer, gradient of the one step)."""
    model = copy.deepcopy(built)
    gradient = _Gradient()
    trainer = cls(
        model=model,
        args=TrainingArguments(
            output_dir=folder,
            max_steps=1,
            per_device_train_batch_size=split[0],
            gradient_accumulation_steps=split[1],
            train_sampling_strategy="sequential",
            max_grad_norm=0.0,
            use_cpu=True,
            save_strategy="no",
            logging_steps=1,
            remove_unused_columns=False,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=rows_for(model),
        callbacks=[gradient],
        **jobs,
    )
    trainer.first = divergence(trainer) if "distillation" in jobs else 0.0
    trainer.train()
    return trainer, gradient.value


def deviation(one: Tensor, other: Tensor) -> float:
    """|one - other| / |other|."""
    return float((one - other).norm() / other.norm()) if one.shape == other.shape else float("nan")


def measure(kind: str, model_type: str, class_name: str) -> dict[str, Any]:
    """One line of the result."""
    row: dict[str, Any] = {"kind": kind, "model_type": model_type, "class": class_name}
    notes: list[str] = []
    handler = logging.Handler(level=logging.WARNING)
    handler.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("hf_compress")
    logger.addHandler(handler)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with torch.no_grad():
                model = still(build(model_type, class_name, runs=lambda model: model(**(probe_inputs(model) or {}))))
        except CannotBuildError as error:
            logger.removeHandler(handler)
            return row | {"outcome": "not built", "why": str(error)}
        try:
            trainer, _ = train(
                CompressionTrainer,
                model,
                (2, 1) if kind.startswith(("image c", "video")) else (1, 2),  # batch statistics need two rows
                folder,
                distillation=Distillation(losses=[(0.5, ForwardKL())]),
            )
            row["outcome"] = "trains*" if any("distilled with" in note for note in notes) else "trains"
            if trainer.first > 1e-6:
                row["outcome"], row["why"] = "failed", f"divergence {trainer.first} of identical weights"
        except CompressionError as error:
            row["outcome"], row["why"] = "refused", str(error)
        except CannotBuildError as error:
            row["outcome"], row["why"] = "not built", str(error)
        except Exception as error:
            row["outcome"], row["why"] = "failed", reason(error)
        if row["outcome"].startswith("trains"):
            try:
                whole = train(Trainer, model, (2, 1), folder)[1]
                row["stock"] = deviation(train(Trainer, model, (1, 2), folder)[1], whole)
                trainer, exact = train(CompressionTrainer, model, (2, 1), folder, exact_task_loss=True)
                row["whole"] = deviation(exact, whole)
                split = train(CompressionTrainer, model, (1, 2), folder, exact_task_loss=True)[1]
                row["ours"], row["own loss"] = deviation(split, exact), trainer._own_loss.step is not None
                row["hands on"] = hands_on_items(trainer.model)
            except Exception as error:
                row["why"] = f"gradient: {reason(error)}"
    logger.removeHandler(handler)
    return row


def run(out: Path, kinds: list[str]) -> None:
    """Measure what is not in the file yet; of all kinds where none is named."""
    warnings.simplefilter("ignore")
    logging.disable(logging.NOTSET)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    done = (
        {tuple(json.loads(line)[key] for key in ("kind", "model_type")) for line in out.read_text().splitlines()}
        if out.exists()
        else set()
    )
    for kind, model_type, class_name in sorted(heads(), key=lambda head: "to text" not in head[0]):
        if (kind, model_type) in done or (kinds and kind not in kinds):
            continue
        row = measure(kind, model_type, class_name)
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(kind, model_type, row["outcome"], row.get("stock"), row.get("ours"), row.get("why", ""), flush=True)


def table(file: Path) -> None:
    """Counts per kind, then every row that is not plain."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "torch"))
    print(f"Distillation over every head, {datetime.date.today()}, {versions}, CPU; scripts/sweep_distillation.py")
    print(f"{len(rows)} of {len(heads())} heads tried\n")
    outcomes = ("trains", "trains*", "refused", "failed", "not built")
    print(f"{'kind':26}" + "".join(f"{name:>11}" for name in outcomes) + f"{'stock wrong':>13}{'ours wrong':>12}")
    for kind in HEADS:
        own = [row for row in rows if row["kind"] == kind]
        counts = collections.Counter(row["outcome"] for row in own)
        stock = sum(row.get("stock", 0) > 1e-3 for row in own)
        ours = sum(row.get("ours", 0) > 1e-3 for row in own)
        print(f"{kind:26}" + "".join(f"{counts[name]:>11}" for name in outcomes) + f"{stock:>13}{ours:>12}")
    print("\nstock wrong, ours wrong: heads whose gradient without a teacher depends on the split by more than 1e-3\n")
    for row in rows:
        if row["outcome"] in ("refused", "failed", "trains*") or row.get("ours", 0) > 1e-3 or "why" in row:
            if row["outcome"] == "not built":
                continue
            text = row.get("why", "the head's own loss has more terms" if row["outcome"] == "trains*" else "")
            numbers = f" stock {row['stock']:.1e} ours {row['ours']:.1e}" if "ours" in row else ""
            print(f"{row['outcome']:9} {row['class']:48} {text}{numbers}")


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(Path(sys.argv[2]), sys.argv[3:])
    else:
        table(Path(sys.argv[2]))
