"""One process of two that evaluate an odd number of rows: `torchrun ... metrics_worker.py <folder>`."""

import itertools
import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from torch import nn
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, default_data_collator

from hf_compress import CompressionSeq2SeqTrainer, CompressionTrainer, _distributed
from hf_compress.tasks.metrics.counted import Counted
from tests.distributed.metrics_rows import NUM_ANSWERS, ROWS, metrics_of, rows_of


class Echo(nn.Module):
    """Predicts what a row says."""

    def __init__(self):
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, predicted, labels):
        logits = nn.functional.one_hot(predicted, NUM_ANSWERS).float() + self.zero
        return {"loss": logits.sum() * 0, "logits": logits}


class EveryMetric:
    """Those of every kind of predictions."""

    def __init__(self):
        self.counted = {kind: Counted(metrics, decoder(kind)) for kind, metrics in metrics_of().items()}

    def __call__(self, prediction, compute_result=True):
        found = {kind: one(prediction, compute_result) for kind, one in self.counted.items()}
        return {f"{kind}/{key}": value for kind, values in found.items() for key, value in values.items()}


def decoder(kind):
    return lambda logits, labels: rows_of(kind, logits.argmax(-1), labels)


def evaluate(host, folder, **arguments):
    trainer = host(
        model=Echo(),
        args=Seq2SeqTrainingArguments(
            output_dir=str(folder),
            per_device_eval_batch_size=2,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            **arguments,
        ),
        eval_dataset=Dataset.from_list([{"predicted": found, "labels": right} for found, right in ROWS]),
        data_collator=default_data_collator,
        compute_metrics=EveryMetric(),
    )
    assert trainer.accelerator.num_processes == 2
    measured = [trainer.evaluate() for _ in range(2)]  # the second finds nothing left of the first
    assert {name: measured[0][name] for name in measured[0] if "/" in name}.items() <= measured[1].items()
    return {name.removeprefix("eval_"): value for name, value in measured[1].items() if "/" in name}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    found = {}
    for host, concatenated, batches in itertools.product(
        (CompressionTrainer, CompressionSeq2SeqTrainer, Seq2SeqTrainer), (True, False), (True, False)
    ):
        arguments = {"eval_do_concat_batches": concatenated, "batch_eval_metrics": batches}
        found[f"{host.__name__} {concatenated} {batches}"] = evaluate(host, folder / "out", **arguments)
    (folder / f"rank{torch.distributed.get_rank()}.json").write_text(json.dumps(found))
    _distributed.leave()
