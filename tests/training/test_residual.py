"""Boosting: gradients by hand, residual fits of least squares, and a run that goes on."""

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import BertForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_compress import CompressionError, Distillation, ResidualTrainer
from hf_compress.training.residual import residual_loss
from tests.tiny import tiny_bert
from tests.training.runs import arguments


class Linear(nn.Module):
    """y = w x of one column."""

    def __init__(self, column, classes=1):
        super().__init__()
        self.column, self.weight = column, nn.Parameter(torch.zeros(classes))

    def forward(self, x, labels=None):
        return SequenceClassifierOutput(logits=x[:, self.column, None] * self.weight)


def regression(count=16):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, generator=generator)
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.1 * torch.randn(count, generator=generator)
    return x, y


@pytest.mark.parametrize("accumulation", [1, 4])
def test_stages_of_linear_models_are_the_least_squares_fits_of_what_is_left(tmp_path, accumulation):
    """A step of gradient descent at 1 / (2 mean x^2) from 0 is the least-squares fit of one column."""
    x, y = regression()
    rows = Dataset.from_dict({"x": x.tolist(), "labels": y.tolist()})
    sizes, members, left = [1.0, 0.7, 1.0], [], y.double()
    for stage, size in enumerate(sizes):
        column = x[:, stage].double()
        wanted = float((column * left).sum() / (column * column).sum())
        args = arguments(
            tmp_path / str(stage),
            max_steps=1,
            per_device_train_batch_size=16 // accumulation,
            gradient_accumulation_steps=accumulation,
            learning_rate=float(1 / (2 * (column * column).mean())),
            lr_scheduler_type="constant",
            optim="sgd",
            max_grad_norm=0,
            save_strategy="no",
        )
        member = Linear(stage)
        ResidualTrainer(
            model=member, args=args, train_dataset=rows, earlier=members, step_sizes=sizes[: len(members)]
        ).train()
        assert member.weight.item() == pytest.approx(wanted, rel=1e-5)
        members, left = [*members, member], left - size * wanted * column


def test_the_gradient_in_the_logits_is_the_residual_of_the_sum(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(6, 2, generator=generator), torch.tensor([0, 2, 1, 1, -100, 0])
    earlier, member = Linear(0, 3), Linear(1, 3)
    earlier.weight.data = torch.tensor([0.5, -1.0, 2.0])
    member.weight.data = torch.tensor([1.0, 0.0, -0.5])
    trainer = ResidualTrainer(model=member, args=arguments(tmp_path), earlier=[earlier], step_sizes=[0.3])
    trainer.compute_loss(member, {"x": x, "labels": labels}, num_items_in_batch=10).backward()
    total = 0.3 * x[:, :1] * earlier.weight + x[:, 1:] * member.weight.detach()
    keep = labels != -100
    residual = (total.softmax(-1) - nn.functional.one_hot(labels.clamp(min=0), 3)) * keep[:, None]
    torch.testing.assert_close(member.weight.grad, (x[:, 1:] * residual).sum(0) / 10)
    assert earlier.weight.grad is None and not earlier.weight.requires_grad


def test_an_evaluation_is_of_the_sum(tmp_path):
    x, y = regression()
    rows = Dataset.from_dict({"x": x.tolist(), "labels": y.tolist()})
    earlier, member = Linear(0), Linear(1)
    earlier.weight.data.fill_(2.0)
    member.weight.data.fill_(-1.0)
    trainer = ResidualTrainer(model=member, args=arguments(tmp_path), eval_dataset=rows, earlier=[earlier])
    found = trainer.predict(rows)
    wanted = 2 * x[:, 0] - x[:, 1]
    torch.testing.assert_close(torch.tensor(found.predictions).flatten(), wanted)
    assert found.metrics["test_loss"] == pytest.approx(float(((wanted - y) ** 2).mean()), rel=1e-5)


def classifier(folder, resume=None, steps=4):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, 60, (24, 6), generator=generator)
    rows = Dataset.from_dict({"input_ids": ids.tolist(), "labels": (ids[:, 0] % 2).tolist()})
    model = tiny_bert(1, num_labels=2, hidden_dropout_prob=0.1)
    trainer = ResidualTrainer(
        model=model,
        args=arguments(folder, max_steps=4, save_steps=2),
        train_dataset=rows,
        earlier=[tiny_bert(0, num_labels=2)],
        step_sizes=[0.5],
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_a_run_that_goes_on_ends_with_the_same_bits_and_holds_no_earlier_member(tmp_path):
    whole = classifier(tmp_path / "whole")
    again = classifier(tmp_path / "again", resume=str(tmp_path / "whole" / "checkpoint-2"))
    pairs = zip(whole.model.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    saved = BertForSequenceClassification.from_pretrained(tmp_path / "whole" / "checkpoint-4")
    assert {name for name, _ in saved.named_parameters()} == {name for name, _ in whole.model.named_parameters()}


def test_what_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(CompressionError, match="leave distillation out"):
        ResidualTrainer(model=Linear(0), args=arguments(tmp_path), distillation=Distillation())
    with pytest.raises(CompressionError, match="2 step sizes for 1 earlier members"):
        ResidualTrainer(model=Linear(0), args=arguments(tmp_path), earlier=[Linear(1)], step_sizes=[1, 2])
    trainer = ResidualTrainer(model=Linear(0), args=arguments(tmp_path))
    with pytest.raises(CompressionError, match="a batch has no labels"):
        trainer.compute_loss(trainer.model, {"x": torch.zeros(2, 1)})


def test_a_batch_by_itself_is_divided_by_its_own_labels():
    logits = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    loss = residual_loss(logits, torch.tensor([0, -100]))
    assert loss.item() == pytest.approx(-logits[0].log_softmax(-1)[0].item())
