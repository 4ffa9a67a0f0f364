"""Tune a language model on texts while it is pruned, quantized and taught by itself as it was.

    python scripts/train_causal_lm.py --model gpt2 --data my-texts --output_dir out/lm \
        --pruning 0.5 --scheme W4A16 --group_size 64 --length 512 --learning_rate 2e-5 --num_train_epochs 1

`--recipe FILE` runs a recipe instead; docs/scripts.md has both.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _options import Options, start
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

from hf_compress import Accuracy, CausalLM, CompressionTrainer, save_result


@dataclass
class TextOptions(Options):
    text: str = "text"
    length: int = 512


def compute_metrics(prediction: Any) -> dict[str, float]:
    """How often the likeliest next token is the right one; `save_result` adds the perplexity."""
    found, right = prediction.predictions[:, :-1], prediction.label_ids[:, 1:]
    return Accuracy().compute(found.ravel(), right.ravel())


def main(options: TextOptions, args: TrainingArguments) -> None:
    rows = options.load_data(CausalLM(text=options.text), seed=args.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = options.load_model(AutoModelForCausalLM)

    def pack(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Texts with an end token behind each, cut into blocks; the last, shorter one is left out."""
        tokens = tokenizer([text + tokenizer.eos_token for text in batch[options.text]], verbose=False)["input_ids"]
        ids = [token for text in tokens for token in text]
        starts = range(0, len(ids) - options.length + 1, options.length)
        blocks = [ids[start : start + options.length] for start in starts]
        return {"input_ids": blocks, "labels": blocks}

    examples = rows.map(pack, batched=True, remove_columns=rows["train"].column_names)
    trainer = CompressionTrainer(
        model=model,
        args=args,
        train_dataset=examples["train"],
        eval_dataset=examples["validation"],
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
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
