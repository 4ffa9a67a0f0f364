"""Tune a classifier of sounds while it is pruned, quantized and taught by itself as it was.

    python scripts/train_audio_classification.py --model my-wav2vec2 --data my-sounds --output_dir out/sounds \
        --max_seconds 2 --pruning 0.5 --scheme W4A16 --group_size 32 --learning_rate 1e-4

Sounds are paths, bytes or arrays at any rate, or a folder of files for every class. A new head is trained first, with
`--pruning 0 --scheme none --no_distillation`. `--recipe FILE` runs a recipe instead; docs/scripts.md has more.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _options import Options, number_classes, start
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, TrainingArguments

from hf_compress import Accuracy, AudioClassification, CompressionTrainer, MacroF1, save_result


@dataclass
class SoundOptions(Options):
    audio: str = "audio"
    label: str = "label"
    max_seconds: float | None = None


def compute_metrics(prediction: Any) -> dict[str, float]:
    found, right = prediction.predictions.argmax(-1), prediction.label_ids
    return Accuracy().compute(found, right) | MacroF1().compute(found, right)


def main(options: SoundOptions, args: TrainingArguments) -> None:
    task = AudioClassification(audio=options.audio, label=options.label, max_seconds=options.max_seconds)
    rows = options.load_data(task, seed=args.seed)
    rows, classes = number_classes(rows, options.label, options.model)
    extractor = AutoFeatureExtractor.from_pretrained(options.model)
    model = options.load_model(AutoModelForAudioClassification, **classes)
    examples = task.examples(rows, extractor, labels=sorted(classes["label2id"], key=classes["label2id"].get))

    trainer = CompressionTrainer(
        model=model,
        args=args,
        train_dataset=examples["train"],
        eval_dataset=examples["validation"],
        processing_class=extractor,
        data_collator=task.collator(extractor),
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
    start(main, remove_unused_columns=False)  # sounds are read, and resampled, when a batch is
