"""Tune a model that finds answers in texts while it is pruned, quantized and taught by itself as it was.

    python scripts/train_question_answering.py --model my-reader --data my-questions --output_dir out/reader \
        --pruning 0.5 --scheme W4A16 --group_size 32 --length 384 --learning_rate 3e-5

Rows are as in SQuAD: question, context, answers {text: [...], answer_start: [...]}. Long contexts become several windows,
and the answer is the best span of all of them. A new head is trained first, with `--pruning 0 --scheme none
--no_distillation`. `--recipe FILE` runs a recipe instead; docs/scripts.md has more.
"""

from dataclasses import dataclass
from pathlib import Path

from _options import Options, start
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, TrainingArguments

from hf_compress import CompressionTrainer, QuestionAnswering, save_result


@dataclass
class AnswerOptions(Options):
    question: str = "question"
    context: str = "context"
    answers: str = "answers"
    length: int = 384
    stride: int | None = None


def main(options: AnswerOptions, args: TrainingArguments) -> None:
    task = QuestionAnswering(
        question=options.question,
        context=options.context,
        answers=options.answers,
        length=options.length,
        stride=options.stride,
    )
    rows = options.load_data(task, seed=args.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = options.load_model(AutoModelForQuestionAnswering)
    examples = task.examples(rows, tokenizer, labels=[])

    trainer = CompressionTrainer(
        model=model,
        args=args,
        train_dataset=examples["train"],
        eval_dataset=examples["validation"],
        processing_class=tokenizer,
        data_collator=task.collator(tokenizer),
        compute_metrics=task.compute_metrics(examples["validation"], rows["validation"], tokenizer),
        preprocess_logits_for_metrics=task.preprocess_logits(),
        callbacks=options.callbacks(),
        **options.techniques(),
    )
    trainer.train(args.resume_from_checkpoint)
    # F1 and exact match of a row need all its windows, so they know which rows they are about.
    trainer.compute_metrics = task.compute_metrics(examples["test"], rows["test"], tokenizer)
    folder, measured = Path(args.output_dir, "compressed"), {"examples": examples["test"], "metric": task.metric}
    report = save_result(trainer, folder, **measured, baseline=options.baseline, dtype=options.dtype)
    if report is not None:  # on the first process
        print((folder / "report.md").read_text())


if __name__ == "__main__":
    start(main)
