"""Ensembles where trainers have models: evaluated by a Trainer, and as the teacher of a student."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, DataCollatorWithPadding, Trainer, TrainingArguments

from hf_compress import (
    Cascade,
    CompressionError,
    CompressionTrainer,
    Distillation,
    ForwardKL,
    ModelTeacher,
    ParallelEnsemble,
)
from tests.ensembling.folders import lower_tokenizer, named, saved, sharper, texts, translators
from tests.tiny import tiny_bert, tiny_t5, tiny_tokenizer
from tests.training.runs import arguments

WRITTEN = ["ab c", "Hello.", "x", "a long one, this", "b b", "see. it", "c"]
LABELS = [0, 1, 2, 0, 1, 2, 0]


def rows(tokenizer):
    return Dataset.from_list(
        [{**tokenizer(text), "labels": label, "number": 7} for text, label in zip(WRITTEN, LABELS, strict=True)]
    )


def accuracy(prediction):
    return {"accuracy": float((np.asarray(prediction.predictions).argmax(-1) == prediction.label_ids).mean())}


def evaluated(made, folder, data, **changes):
    args = TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to="none", per_device_eval_batch_size=3, disable_tqdm=True, **changes
    )
    collator = DataCollatorWithPadding(made.processor)
    trainer = Trainer(model=made, args=args, eval_dataset=data, data_collator=collator, compute_metrics=accuracy)
    return trainer.evaluate()


def by_hand(answer):
    """Mean loss and accuracy of what `answer` says of one text."""
    with torch.no_grad():
        found = torch.stack([answer(text) for text in WRITTEN])
    right = (found.argmax(-1) == torch.tensor(LABELS)).double().mean().item()
    return {"eval_loss": -found[range(7), LABELS].mean().item(), "eval_accuracy": right}


def log_shares(member, processor, order, text):
    return member(**processor(text, return_tensors="pt")).logits[0].log_softmax(-1)[[order.index(one) for one in "abc"]]


@pytest.mark.parametrize("remove", [True, False])
@pytest.mark.parametrize("kind", [ParallelEnsemble, Cascade])
def test_a_trainer_measures_what_is_found_by_hand(kind, remove, tmp_path):
    members, processors = texts()
    each = [(members[0], processors[0], "abc"), (members[1], processors[1], "cab")]
    made = kind.from_members(members, processors=processors, **({"thresholds": [0.45]} if kind is Cascade else {}))

    def answer(text):
        first, second = (log_shares(*one, text) for one in each)
        if kind is Cascade:
            return first if first.max().exp() >= 0.45 else second
        return ((first.exp() + second.exp()) / 2).log()

    data = rows(made.processor)
    found = evaluated(made, tmp_path, data if remove else data.remove_columns("number"), remove_unused_columns=remove)
    expected = by_hand(answer)
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-5)


def test_inputs_of_further_tokenizers_reach_their_members_unless_the_trainer_drops_them(tmp_path):
    members, processors = texts()[0], [tiny_tokenizer(), lower_tokenizer()]
    made = ParallelEnsemble.from_members(members, processors=processors)
    data = rows(made.processor).remove_columns("number")
    found = evaluated(made, tmp_path, data, remove_unused_columns=False)
    each = [(members[0], processors[0], "abc"), (members[1], processors[1], "cab")]
    expected = by_hand(lambda text: (sum(log_shares(*one, text).exp() for one in each) / 2).log())
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-5)
    with pytest.raises(CompressionError, match="remove_unused_columns=False"):
        evaluated(made, tmp_path, data)


def test_an_ensemble_in_a_folder_teaches_a_student(tmp_path):
    ParallelEnsemble.from_members(saved(*texts(), tmp_path / "members"), weights=[1, 2]).save_pretrained(tmp_path / "both")
    student = named(tiny_bert(5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), "cba")
    data = rows(tiny_tokenizer()).remove_columns("number")
    teacher = ModelTeacher(model=str(tmp_path / "both"))
    trainer = CompressionTrainer(
        model=student,
        args=arguments(tmp_path / "out", max_steps=1, logging_steps=1, per_device_train_batch_size=7, learning_rate=1e-3),
        train_dataset=data,
        data_collator=DataCollatorWithPadding(tiny_tokenizer()),
        processing_class=tiny_tokenizer(),
        distillation=Distillation(teacher=teacher, losses=[(1.0, ForwardKL())], task_weight=0.0),
    )
    inputs = tiny_tokenizer()(WRITTEN, padding=True, return_tensors="pt")
    with torch.no_grad():
        log_p = ParallelEnsemble.from_pretrained(tmp_path / "both")(**inputs).logits[:, [2, 1, 0]]
        log_q = student(**inputs).logits.log_softmax(-1)
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "distillation_loss" in entry)
    expected = (log_p.exp() * (log_p - log_q)).sum(-1).mean().item()
    assert logged["distillation_loss"] == pytest.approx(expected, rel=1e-4)


def test_an_ensemble_that_writes_teaches_a_student_token_by_token(tmp_path):
    """Its members start as the student does, whose start is in the inputs that both read."""
    members, processors = translators()
    ParallelEnsemble.from_members(members, processors=processors, weights=[1, 2]).save_pretrained(tmp_path / "both")
    student = tiny_t5(5, dropout_rate=0.0)
    tokenizer = tiny_tokenizer()
    data = Dataset.from_list([{**tokenizer(text), "labels": tokenizer(text[::-1])["input_ids"]} for text in WRITTEN])
    trainer = CompressionTrainer(
        model=student,
        args=arguments(tmp_path / "out", max_steps=1, logging_steps=1, per_device_train_batch_size=7, learning_rate=1e-3),
        train_dataset=data,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
        distillation=Distillation(
            teacher=ModelTeacher(model=str(tmp_path / "both")), losses=[(1.0, ForwardKL())], task_weight=0.0
        ),
    )
    batch = DataCollatorForSeq2Seq(tokenizer)([dict(row) for row in data])
    with torch.no_grad():
        shares = [member(**batch).logits.softmax(-1) for member in members]
        log_p = ((shares[0] + 2 * shares[1]) / 3).log()
        log_q = student(**batch).logits.log_softmax(-1)
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "distillation_loss" in entry)
    expected = (log_p.exp() * (log_p - log_q)).sum(-1)[batch["labels"] != -100].mean().item()
    assert logged["distillation_loss"] == pytest.approx(expected, rel=1e-4)


def test_a_teacher_that_reads_what_several_tokenizers_make_is_refused(tmp_path):
    members, _ = texts()
    made = ParallelEnsemble.from_members(members, processors=[tiny_tokenizer(), lower_tokenizer()])
    made.save_pretrained(tmp_path / "both")
    with pytest.raises(CompressionError, match="members of the teacher read what 2 different tokenizers"):
        ModelTeacher(model=str(tmp_path / "both")).load(named(sharper(tiny_bert()), "abc"), torch.device("cpu"))
