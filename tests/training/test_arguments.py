"""TrainingArguments from a mapping, and how many steps they mean."""

import random

import pytest
import torch
from transformers import Trainer, TrainingArguments

from hf_compress import Distillation
from hf_compress.training.arguments import build_training, check_trainer, check_training, check_values, planned_steps
from hf_compress.training.compression import Compression

GRID = [
    {},
    {"num_train_epochs": 1},
    {"num_train_epochs": 1.5, "gradient_accumulation_steps": 2},
    {"num_train_epochs": 0.1},
    {"num_train_epochs": 2, "gradient_accumulation_steps": 3, "per_device_train_batch_size": 5},
    {"num_train_epochs": 1, "gradient_accumulation_steps": 64},
    {"num_train_epochs": 2, "dataloader_drop_last": True, "per_device_train_batch_size": 7},
    {"max_steps": 5, "num_train_epochs": 3},
    {"max_steps": 1000},
]


def trainer(folder, training, num_examples):
    args = TrainingArguments(output_dir=str(folder), use_cpu=True, disable_tqdm=True, save_strategy="no", **training)
    rows = [{"x": torch.ones(1), "labels": torch.ones(1)} for _ in range(num_examples)]
    return Trainer(model=OneWeight(), args=args, train_dataset=rows)


class OneWeight(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)

    def forward(self, x, labels=None):
        return {"loss": self.linear(x).sum()}


@pytest.mark.parametrize("training", GRID, ids=str)
@pytest.mark.parametrize("num_examples", [1, 7, 8, 9, 50])
def test_planned_steps_are_those_the_trainer_computes(training, num_examples, tmp_path):
    host = trainer(tmp_path, training, num_examples)
    if training.get("dataloader_drop_last") and num_examples < host.args.train_batch_size:
        pytest.skip("no batch is left; a recipe refuses this")
    *_, max_steps = host.set_initial_training_values(host.args, host.get_train_dataloader())
    assert planned_steps(host.args, num_examples) == max_steps


def test_planned_steps_are_those_the_trainer_computes_for_any_numbers(tmp_path):
    generator = random.Random(0)
    for _ in range(60):
        training = {
            "per_device_train_batch_size": generator.randint(1, 9),
            "gradient_accumulation_steps": generator.randint(1, 5),
            "num_train_epochs": generator.choice([0.3, 1, 1.7, 2, 3.01]),
        }
        num_examples = generator.randint(1, 60)
        host = trainer(tmp_path, training, num_examples)
        *_, max_steps = host.set_initial_training_values(host.args, host.get_train_dataloader())
        assert planned_steps(host.args, num_examples) == max_steps, (training, num_examples)


@pytest.mark.parametrize(
    "training", [{"num_train_epochs": 1.5, "gradient_accumulation_steps": 2}, {"max_steps": 3}], ids=str
)
def test_planned_steps_are_those_of_a_real_run(training, tmp_path):
    host = trainer(tmp_path, {**training, "per_device_train_batch_size": 3}, 10)
    host.train()
    assert host.state.global_step == host.state.max_steps == planned_steps(host.args, 10)


def messages(training, path="training"):
    return [str(problem) for problem in check_training({"output_dir": "out", **training}, path)]


def test_a_right_mapping_has_no_problem():
    training = {
        "learning_rate": 1,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 5,
        "eval_strategy": "no",
        "report_to": [],
    }
    assert messages(training) == []
    assert build_training({"output_dir": "out", **training}).learning_rate == 1.0


def test_every_key_is_checked_with_its_path():
    assert messages({"learning_rat": 1, "seed": "x", "bf16": "yes", "max_steps": 1.5, "optim": 3}, "dense.training") == [
        "dense.training.learning_rat: unknown key 'learning_rat'; did you mean 'learning_rate'?",
        "dense.training.seed: 'x' (text) given, a whole number expected",
        "dense.training.bf16: 'yes' (text) given, true or false expected",
        "dense.training.max_steps: 1.5 (a number) given, a whole number expected",
        next(text for text in messages({"optim": 3}, "dense.training")),
    ]
    assert messages({"optim": 3})[0].startswith("training.optim: 3 (a whole number) given, one of adamw_torch, ")


def test_a_part_of_a_mapping_is_checked_by_its_values_alone():
    # Right only beside an evaluation strategy that another mapping has.
    assert check_values({"load_best_model_at_end": True}, "dense.training") == []
    assert len(messages({"load_best_model_at_end": True})) == 1


def test_a_multi_line_refusal_becomes_one_line():
    (message,) = messages({"load_best_model_at_end": True})
    assert "\n" not in message and "Evaluation strategy: " in message and "Save strategy: " in message


def test_the_trial_trainer_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_trainer({"output_dir": "out", "use_cpu": True}, "training", Compression()) == []
    assert list(tmp_path.iterdir()) == []


def test_the_trial_trainer_refuses_what_compression_does_not_go_with():
    mapping = {"output_dir": "out", "use_cpu": True, "label_smoothing_factor": 0.1}
    assert check_trainer(mapping, "training") == []
    (problem,) = check_trainer(mapping, "training", Compression(distillation=Distillation()))
    assert str(problem).startswith("training: distillation and label_smoothing_factor exclude each other")


def test_evaluation_needs_no_data_set_in_the_trial():
    assert check_trainer({"output_dir": "out", "use_cpu": True, "eval_strategy": "steps"}, "training") == []
