"""The gradient must not depend on how one batch is split over batch size, accumulation and processes."""

import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainingArguments

from hf_compress import CompressionTrainer, Distillation, ModelTeacher
from tests.training.ragged import (
    ROWS_OF_LOGITS,
    SPLITS,
    STATES,
    TASKS,
    collator,
    examples,
    losses,
    named_gradients,
    student_and_teacher,
)


class CatchGradients(TrainerCallback):
    """Copies the gradients as the optimizer would see them."""

    def __init__(self):
        self.gradients = self.trainer = None

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.gradients = named_gradients(model, self.trainer)


def gradients(task, batch_size, accumulation, folder, logs=None):
    """Of one step; its log is added to `logs`."""
    student, teacher = student_and_teacher(task)
    student = student.double()
    teacher = teacher.double()
    catcher = CatchGradients()
    trainer = CompressionTrainer(
        model=student,
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=1,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            train_sampling_strategy="sequential",
            max_grad_norm=0.0,
            use_cpu=True,
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
        ),
        train_dataset=Dataset.from_list(examples(task)),
        data_collator=collator(task, student),
        callbacks=[catcher],
        distillation=Distillation(teacher=ModelTeacher(model=teacher), losses=losses(task), task_weight=0.8),
    )
    catcher.trainer = trainer
    trainer.train()
    if logs is not None:
        logs.append(trainer.state.log_history[0])
    return catcher.gradients


def closeness(task):
    """fp64 sums in another order; over the positions of an answer the distillation loss sums in fp32, padding with them."""
    return {"rtol": 1e-5, "atol": 1e-7} if task == "question_answering" else {"rtol": 1e-9, "atol": 1e-12}


@pytest.mark.parametrize("task", [*TASKS, "ctc sum", STATES])
def test_gradient_is_the_same_however_eight_ragged_examples_are_split(task, tmp_path):
    reference = gradients(task, 8, 1, tmp_path)
    assert sum(float(g.abs().sum()) for g in reference.values()) > 0
    for batch_size, accumulation in SPLITS[1:]:
        split = gradients(task, batch_size, accumulation, tmp_path)
        assert split.keys() == reference.keys()
        for name in reference:
            torch.testing.assert_close(split[name], reference[name], **closeness(task), msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("task", ROWS_OF_LOGITS)
def test_gradient_equals_an_independent_dense_computation(task, tmp_path):
    """No hf_compress code on the reference side: logits, log_softmax, sums, one division."""
    student, teacher = student_and_teacher(task)
    student, teacher = student.double().train(), teacher.double().eval()
    batch = collator(task, student)(examples(task))
    labels = batch.pop("labels")
    if task == "seq2seq":
        batch["decoder_input_ids"] = student.prepare_decoder_input_ids_from_labels(labels=labels)
    with torch.no_grad():
        wanted = teacher(**batch).logits
    logits = student(**batch).logits
    if task == "causal_lm":
        logits, wanted, labels = logits[:, :-1], wanted[:, :-1], labels[:, 1:]
    keep = labels.reshape(-1) != -100
    s, t = logits.reshape(-1, logits.shape[-1])[keep], wanted.reshape(-1, logits.shape[-1])[keep]
    task_loss = -torch.log_softmax(s, -1)[torch.arange(len(s)), labels.reshape(-1)[keep]].sum()
    p, log_q = torch.softmax(t / 2, -1), torch.log_softmax(s / 2, -1)
    kl = 4 * (p * (p.log() - log_q)).sum()
    ((0.8 * task_loss + 0.6 * kl) / keep.sum()).backward()
    measured = gradients(task, 2, 4, tmp_path)
    for name, parameter in student.named_parameters():
        if parameter.grad is None:
            continue
        torch.testing.assert_close(measured[f"model.{name}"], parameter.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("task", ["question_answering", "ctc", "ctc sum"])
def test_gradient_equals_examples_one_by_one_and_without_padding(task, tmp_path):
    """No hf_compress code on the reference side: the model's own loss of every example alone, and a dense divergence."""
    student, teacher = student_and_teacher(task)
    student, teacher = student.double().train(), teacher.double().eval()
    total, count = 0.0, 0
    for example in examples(task):
        batch = collator(task, student)([example])
        if task == "question_answering":
            ends = [batch.pop("start_positions"), batch.pop("end_positions")]
            answers, wanted = (model(**batch) for model in (student, teacher))
            rows = zip((answers.start_logits, answers.end_logits), (wanted.start_logits, wanted.end_logits), strict=True)
            for label, (s, t) in zip(ends, rows, strict=True):
                if int(label) < s.shape[1]:
                    total = total - 0.8 * torch.log_softmax(s, -1)[0, int(label)] + 0.6 * divergence(s, t)
                    count += 1
        else:
            own = student(**batch)
            kl = divergence(own.logits[0], teacher(**batch).logits[0])
            share = 1 if task == "ctc sum" else len(example["labels"])
            total = total + 0.8 * own.loss + 0.6 * kl / share
            count += 1
    (total / (1 if task == "ctc sum" else count)).backward()
    measured = gradients(task, 2, 4, tmp_path)
    assert measured
    for name, parameter in student.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(measured[f"model.{name}"], parameter.grad, rtol=1e-4, atol=1e-6)


def divergence(s, t):
    """4 KL(t || s) at temperature 2, summed over rows."""
    p, log_q = torch.softmax(t.detach() / 2, -1), torch.log_softmax(s / 2, -1)
    return 4 * (p * (p.log() - log_q)).sum()
