"""The first training step leaves out what a dry run could not see to be passed by."""

import logging

import pytest
import torch
from datasets import Dataset
from torch import nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel, TrainingArguments

from hf_compress import CompressionTrainer, Quantization
from hf_compress._errors import CompressionError
from hf_compress.quantization.fitting import BYPASSED
from hf_compress.quantization.modules.linear import FakeQuantizedLinear
from hf_compress.quantization.reach import left_dense


class Opaque(PreTrainedModel):
    """A model that no probe can be made for: one layer called, one read, one of no use."""

    config_class = PretrainedConfig
    main_input_name = "measurements"

    def __init__(self, config):
        super().__init__(config)
        self.called, self.read, self.idle = (nn.Linear(8, 8) for _ in range(3))
        self.post_init()

    def forward(self, measurements, labels=None):
        hidden = functional.linear(self.called(measurements), self.read.weight, self.read.bias)
        return {"loss": hidden.square().mean(), "logits": hidden}


ROWS = Dataset.from_list([{"measurements": row, "labels": 0} for row in torch.randn(8, 8).tolist()])


def made(tmp_path, **quantization):
    torch.manual_seed(0)
    args = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        learning_rate=0.1,
        remove_unused_columns=False,
    )
    job = Quantization(scheme="W8A8", **quantization)
    return CompressionTrainer(model=Opaque(PretrainedConfig()), args=args, train_dataset=ROWS, quantization=job)


def trained(tmp_path, **quantization):
    trainer = made(tmp_path, **quantization)
    trainer.train()
    return trainer.model


def test_a_module_whose_weight_is_read_is_left_out_in_the_first_step_and_named(tmp_path, caplog):
    trainer = made(tmp_path)
    assert isinstance(trainer.model.read, FakeQuantizedLinear)
    with caplog.at_level(logging.INFO, "hf_compress"):
        trainer.train()
    model = trainer.model
    assert type(model.read) is nn.Linear and isinstance(model.called, FakeQuantizedLinear)
    assert isinstance(model.idle, FakeQuantizedLinear)  # never used: what calls it one day sees it quantized
    assert left_dense(model) == {"read": BYPASSED}
    assert f"quantization leaves read dense: {BYPASSED}" in caplog.messages
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_weights_are_those_of_a_run_that_ignored_the_module_from_the_start(tmp_path):
    found, expected = trained(tmp_path / "a"), trained(tmp_path / "b", ignore=["read"]).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())


def test_a_module_that_was_named_is_refused_before_the_first_optimizer_step(tmp_path):
    with pytest.raises(CompressionError, match="read cannot be compressed: the architecture reads its weight by itself"):
        trained(tmp_path, targets=["Linear", "read"])
