"""Tune a model that writes down speech while it is pruned, quantized and taught by itself as it was.

    python scripts/train_ctc.py --model my-wav2vec2 --data my-speech --output_dir out/speech --text transcript \
        --pruning 0.5 --scheme W4A16 --group_size 32 --learning_rate 1e-4

Sounds are paths, bytes or arrays at any rate. A model with a new head spells with the characters of the training texts; it
is trained first, with `--pruning 0 --scheme none --no_distillation`. `--recipe FILE` runs a recipe instead; docs/scripts.md
has more.
"""

from dataclasses import dataclass
from pathlib import Path

from _options import Options, start
from transformers import AutoConfig, AutoModelForCTC, TrainingArguments

from hf_compress import CompressionTrainer, Ctc, save_result


@dataclass
class SpeechOptions(Options):
    audio: str = "audio"
    text: str = "text"


def main(options: SpeechOptions, args: TrainingArguments) -> None:
    task = Ctc(audio=options.audio, text=options.text)
    rows = options.load_data(task, seed=args.seed)
    config = AutoConfig.from_pretrained(options.model)
    processor = task.load_processor(options.model, config, rows)
    model = options.load_model(AutoModelForCTC, **task.config_changes(options.model, config, processor, None))
    rows = task.fit_rows(rows, model, processor)  # refuses a text that is longer than its sound
    examples = task.examples(rows, processor, labels=[])

    trainer = CompressionTrainer(
        model=model,
        args=args,
        train_dataset=examples["train"],
        eval_dataset=examples["validation"],
        processing_class=processor,
        data_collator=task.collator(processor),
        compute_metrics=task.compute_metrics(examples["validation"], rows["validation"], processor),
        preprocess_logits_for_metrics=task.preprocess_logits(),
        callbacks=options.callbacks(),
        **options.techniques(),
    )
    trainer.train(args.resume_from_checkpoint)
    trainer.compute_metrics = task.compute_metrics(examples["test"], rows["test"], processor)
    folder, measured = Path(args.output_dir, "compressed"), {"examples": examples["test"], "metric": task.metric}
    report = save_result(trainer, folder, **measured, baseline=options.baseline, dtype=options.dtype)
    if report is not None:  # on the first process
        print((folder / "report.md").read_text())


if __name__ == "__main__":
    start(main, remove_unused_columns=False)  # sounds are read, and resampled, when a batch is
