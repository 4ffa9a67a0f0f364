"""Tune a model that finds names in sentences while it is pruned, quantized and taught by itself as it was.

    python scripts/train_token_classification.py --model my-ner-model --data my-sentences --output_dir out/ner \
        --tokens tokens --labels ner_tags --pruning 0.5 --scheme W4A16 --group_size 32 --learning_rate 5e-5

Rows are lists of words and lists of as many labels (O, B-person, I-person, ...). A new head is trained first, with
`--pruning 0 --scheme none --no_distillation`. `--recipe FILE` runs a recipe instead; docs/scripts.md has more.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from _options import Options, number_classes, start
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    TrainingArguments,
)

from hf_compress import CompressionTrainer, Seqeval, TokenClassification, save_result


@dataclass
class TagOptions(Options):
    tokens: str = "tokens"
    labels: str = "ner_tags"
    length: int = 128


def main(options: TagOptions, args: TrainingArguments) -> None:
    rows = options.load_data(TokenClassification(tokens=options.tokens, labels=options.labels), seed=args.seed)
    rows, classes = number_classes(rows, options.labels, options.model)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = options.load_model(AutoModelForTokenClassification, **classes)

    def encode(batch: dict[str, list[Any]]) -> Any:
        """The first token of a word has the word's label, all others have none."""
        encoded = tokenizer(batch[options.tokens], is_split_into_words=True, truncation=True, max_length=options.length)
        encoded["labels"] = [
            [-100 if word in (None, before) else labels[word] for before, word in pairwise([None, *encoded.word_ids(row)])]
            for row, labels in enumerate(batch[options.labels])
        ]
        return encoded

    def compute_metrics(prediction: Any) -> dict[str, float]:
        def tags(ids: Any) -> list[list[str]]:
            counted = zip(ids, prediction.label_ids != -100, strict=True)
            return [[classes["id2label"][one] for one in row[words].tolist()] for row, words in counted]

        return Seqeval().compute(tags(prediction.predictions), tags(prediction.label_ids))

    examples = rows.map(encode, batched=True, remove_columns=rows["train"].column_names)
    trainer = CompressionTrainer(
        model=model,
        args=args,
        train_dataset=examples["train"],
        eval_dataset=examples["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorForTokenClassification(tokenizer),
        compute_metrics=compute_metrics,
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
        callbacks=options.callbacks(),
        **options.techniques(),
    )
    trainer.train(args.resume_from_checkpoint)
    folder, measured = Path(args.output_dir, "compressed"), {"examples": examples["test"], "metric": "overall_f1"}
    report = save_result(trainer, folder, **measured, baseline=options.baseline, dtype=options.dtype)
    if report is not None:  # on the first process
        print((folder / "report.md").read_text())


if __name__ == "__main__":
    start(main)
