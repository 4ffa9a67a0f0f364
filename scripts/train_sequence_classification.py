"""Tune a classifier of texts while it is pruned, quantized and taught by itself as it was.

    python scripts/train_sequence_classification.py --model my-bert --data my-texts --output_dir out/dense \
        --pruning 0 --scheme none --no_distillation --learning_rate 5e-5
    python scripts/train_sequence_classification.py --model out/dense/compressed --data my-texts --output_dir out/small \
        --pruning 0.5 --scheme W8A8 --learning_rate 5e-5

The first call trains a new head, the second compresses the classifier. `--recipe FILE` runs a recipe instead, which does
both; docs/scripts.md has more.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _options import Options, number_classes, start
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, TrainingArguments

from hf_compress import Accuracy, CompressionTrainer, MacroF1, SequenceClassification, save_result


@dataclass
class TextOptions(Options):
    text: str = "text"
    label: str = "label"
    length: int = 128


def compute_metrics(prediction: Any) -> dict[str, float]:
    found, right = prediction.predictions.argmax(-1), prediction.label_ids
    return Accuracy().compute(found, right) | MacroF1().compute(found, right)


def main(options: TextOptions, args: TrainingArguments) -> None:
    rows = options.load_data(SequenceClassification(text=options.text, label=options.label), seed=args.seed)
    rows, classes = number_classes(rows, options.label, options.model)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = options.load_model(AutoModelForSequenceClassification, **classes)

    def encode(batch: dict[str, list[Any]]) -> dict[str, Any]:
        encoded = tokenizer(batch[options.text], truncation=True, max_length=options.length)
        return {**encoded, "labels": batch[options.label]}

    examples = rows.map(encode, batched=True, remove_columns=rows["train"].column_names)
    trainer = CompressionTrainer(
        model=model,
        args=args,
        train_dataset=examples["train"],
        eval_dataset=examples["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=compute_metrics,
        callbacks=options.callbacks(),
        **options.techniques(),
    )
    trainer.train(args.resume_from_checkpoint)
    folder = Path(args.output_dir, "compressed")
    report = save_result(trainer, folder, examples=examples["test"], baseline=options.baseline, dtype=options.dtype)
    if report is not None:  # on the first process
        print((folder / "report.md").read_text())


if __name__ == "__main__":
    start(main)
