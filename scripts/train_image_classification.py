"""Tune a classifier of images while it is pruned, quantized and taught by itself as it was.

    python scripts/train_image_classification.py --model my-vit --data my-images --output_dir out/images \
        --pruning 0.5 --scheme W4A16 --group_size 32 --learning_rate 1e-4

Data may be a folder with a folder of images for every class. A new head is trained first, with `--pruning 0 --scheme none
--no_distillation`. `--recipe FILE` runs a recipe instead; docs/scripts.md has more.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _options import Options, number_classes, start
from transformers import AutoImageProcessor, AutoModelForImageClassification, TrainingArguments, default_data_collator

from hf_compress import Accuracy, CompressionTrainer, ImageClassification, MacroF1, save_result


@dataclass
class ImageOptions(Options):
    image: str = "image"
    label: str = "label"


def compute_metrics(prediction: Any) -> dict[str, float]:
    found, right = prediction.predictions.argmax(-1), prediction.label_ids
    return Accuracy().compute(found, right) | MacroF1().compute(found, right)


def main(options: ImageOptions, args: TrainingArguments) -> None:
    rows = options.load_data(ImageClassification(image=options.image, label=options.label), seed=args.seed)
    rows, classes = number_classes(rows, options.label, options.model)
    processor = AutoImageProcessor.from_pretrained(options.model)
    model = options.load_model(AutoModelForImageClassification, **classes)

    def read(batch: dict[str, list[Any]]) -> dict[str, Any]:
        pixels = processor([image.convert("RGB") for image in batch[options.image]], return_tensors="pt")["pixel_values"]
        return {"pixel_values": list(pixels), "labels": batch[options.label]}

    examples = rows.with_transform(read)  # when a batch is read: pixels of all images would not fit into memory
    trainer = CompressionTrainer(
        model=model,
        args=args,
        train_dataset=examples["train"],
        eval_dataset=examples["validation"],
        processing_class=processor,
        data_collator=default_data_collator,
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
    start(main, remove_unused_columns=False)  # the images must still be there when a batch is read
