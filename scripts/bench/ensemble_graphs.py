"""Ensembles as one graph: what each fusion's file answers, weighs, and whether it leaves later members out.

    python scripts/bench/ensemble_graphs.py

Every fusion of two fresh BERTs (1 and 6 layers of 128; labels in another order) is written by every format whose packages
are there and run by its own runtime. "difference" is the largest |graph - ensemble| of a log-probability, on rows of
another number and length than the graph was traced on, and "largest" the largest log-probability. Of a cascade,
"nobody / all" is the time of a batch whose rows all stop at the first member over that of one whose rows all go on, in the
same runtime, in interleaved rounds.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from _benchmark import emit, header, interleaved, parser, prepare, progress, ratio, table
from transformers import BertConfig, BertForSequenceClassification

from hf_compress import Cascade, Gate, Gating, ParallelEnsemble, ResidualEnsemble, Stacking
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.checkpoints.exported import load_exported, silent
from hf_compress.checkpoints.weight_files import program_files

ROWS, LENGTH = 256, 24


def member(layers: int, labels: str) -> Any:
    """A fresh one whose answers differ from row to row."""
    config = BertConfig(
        vocab_size=1000, hidden_size=128, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=512
    )
    config.id2label, config.label2id = dict(enumerate(labels)), {label: number for number, label in enumerate(labels)}
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.mul_(20)
        model.classifier.weight.mul_(20)
    return model


def gate() -> Gate:
    """One that listens to whoever is surer."""
    made = Gate(2, 3)
    made.outer.weight.data.copy_(torch.linspace(-1, 1, 16).view(2, 8))
    return made


def measured(name: str, model: Any, form: Any, inputs: dict[str, Any], batches: dict[str, Any], repeats: int) -> list[str]:
    """A line of the table."""
    if form.mistake(quantized=False):
        return [name, form.name, form.mistake(quantized=False), "", "", "", ""]
    progress(f"{name}, {form.name}")
    with tempfile.TemporaryDirectory() as place, torch.no_grad(), silent():
        program = form.write_program(model, Path(place))
        graph = load_exported(Path(place))
        wanted, found = model(**inputs).logits, graph(**inputs)["logits"]
        spread = "-"
        if name == "cascade":
            seconds = interleaved({which: lambda rows=rows: graph(**rows) for which, rows in batches.items()}, repeats)
            spread = ratio(seconds["nobody"], seconds["all"])
        size = sum(file.stat().st_size for file in program_files(Path(place)))
    numbers = [f"{float((found - wanted).abs().max()):.1e}", f"{float(wanted.abs().max()):.2f}", f"{size:,}"]
    return [name, form.name, *numbers, program.asked or "all are asked", spread]


def main() -> None:
    """Write the table."""
    options = parser("Ensembles as one graph.", repeats=5).parse_args()
    prepare(options)
    members = [member(1, "abc"), member(6, "cab")]
    ids = torch.randint(5, 1000, (ROWS, LENGTH))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        sure, order = members[0](**inputs).logits.softmax(-1).amax(-1).sort()
    threshold = float(sure[ROWS // 2 - 1 : ROWS // 2 + 1].mean())  # beside no row
    batches = {
        which: {key: value[rows] for key, value in inputs.items()}
        for which, rows in (("nobody", order[-32:]), ("all", order[:32]))
    }
    kinds = {
        "parallel": ParallelEnsemble.from_members(members, weights=[1, 2]),
        "cascade": Cascade.from_members(members, thresholds=[threshold]),
        "stacking": Stacking.from_members(members, weight=torch.linspace(-1, 1, 18).view(3, 6), bias=torch.zeros(3)),
        "gating": Gating.from_members(members, gate=gate()),
        "residual": ResidualEnsemble.from_members(members, step_sizes=[1.0, 0.5]),
    }
    forms = [ExportFormat.create(name) for name in ("onnx", "openvino")]
    rows = [
        measured(name, model, form, inputs, batches, options.repeats) for name, model in kinds.items() for form in forms
    ]
    head = ["fusion", "format", "difference", "largest", "bytes", "later members", "nobody / all"]
    packages = ("transformers", "onnx", "onnxruntime", "openvino", "hf_compress")
    emit([header("Ensembles as one graph", packages), table(head, rows)], options.out)


if __name__ == "__main__":
    main()
