"""Tune a model that translates or summarises while it is pruned, quantized and taught by itself as it was.

    python scripts/train_seq2seq.py --model my-t5 --data my-pairs --output_dir out/translation --source en --target de \
        --metric bleu --pruning 0.5 --scheme W4A16 --group_size 32 --learning_rate 1e-4 --generation_max_length 64

`--metric rouge` for summaries. `--recipe FILE` runs a recipe instead; docs/scripts.md has both.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy
from _options import Options, start
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, DataCollatorForSeq2Seq, Seq2SeqTrainingArguments

from hf_compress import Bleu, ChrF, CompressionSeq2SeqTrainer, Rouge, Seq2Seq, save_result


@dataclass
class PairOptions(Options):
    source: str = "source"
    target: str = "target"
    prefix: str = ""
    length: int = 128
    metric: Literal["bleu", "chrf", "rouge"] = "bleu"


def main(options: PairOptions, args: Seq2SeqTrainingArguments) -> None:
    rows = options.load_data(Seq2Seq(source=options.source, target=options.target), seed=args.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = options.load_model(AutoModelForSeq2SeqLM)
    metric = {"bleu": Bleu, "chrf": ChrF, "rouge": Rouge}[options.metric]()

    def encode(batch: dict[str, list[Any]]) -> Any:
        sources = [options.prefix + text for text in batch[options.source]]
        return tokenizer(sources, text_target=batch[options.target], truncation=True, max_length=options.length)

    def compute_metrics(prediction: Any) -> dict[str, float]:
        def texts(ids: Any) -> list[str]:
            return tokenizer.batch_decode(numpy.where(ids < 0, tokenizer.pad_token_id, ids), skip_special_tokens=True)

        return metric.compute(texts(prediction.predictions), texts(prediction.label_ids))

    examples = rows.map(encode, batched=True, remove_columns=rows["train"].column_names)
    trainer = CompressionSeq2SeqTrainer(
        model=model,
        args=args,
        train_dataset=examples["train"],
        eval_dataset=examples["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        compute_metrics=compute_metrics,
        callbacks=options.callbacks(),
        **options.techniques(),
    )
    trainer.train(args.resume_from_checkpoint)
    folder, measured = Path(args.output_dir, "compressed"), {"examples": examples["test"], "metric": metric.gives[0]}
    report = save_result(trainer, folder, **measured, baseline=options.baseline, dtype=options.dtype)
    if report is not None:  # on the first process
        print((folder / "report.md").read_text())


if __name__ == "__main__":
    start(main, predict_with_generate=True)
