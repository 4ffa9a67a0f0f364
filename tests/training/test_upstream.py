"""The signatures and the hook order of transformers that the mixin relies on."""

import ast
import inspect
import textwrap

import pytest
import torch
from transformers import Trainer, TrainerCallback

from hf_compress.training.mixin import CompressionMixin
from hf_compress.training.projected import TrainsProjections
from hf_compress.training.pushing import PushesWhole
from tests.training.runs import llama_trainer

SIGNATURES = {
    "compute_loss": ["self", "model", "inputs", "return_outputs", "num_items_in_batch"],
    "_clip_grad_norm": ["self", "model"],
    "_save": ["self", "output_dir", "state_dict"],
    "_load_from_checkpoint": ["self", "resume_from_checkpoint", "model"],
    "_load_best_model": ["self"],
    "_determine_best_metric": ["self", "metrics", "trial"],
    "call_model_init": ["self", "trial"],
    "evaluation_loop": ["self", "dataloader", "description", "prediction_loss_only", "ignore_keys", "metric_key_prefix"],
    "create_optimizer": ["self", "model"],
    "training_step": ["self", "model", "inputs", "num_items_in_batch"],
    "log": ["self", "logs", "start_time"],
    "train": ["self", "resume_from_checkpoint", "trial", "ignore_keys_for_eval"],
    "get_batch_samples": ["self", "epoch_iterator", "num_batches", "device"],
    "push_to_hub": ["self", "commit_message", "blocking", "token", "revision", "private", "kwargs"],
    "_push_from_checkpoint": ["self", "checkpoint_folder"],
    "create_model_card": [
        *("self", "language", "license", "tags", "model_name", "finetuned_from", "tasks"),
        *("dataset_tags", "dataset", "dataset_args"),
    ],
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_overridden_method_has_the_signature_it_was_written_for(name):
    assert list(inspect.signature(getattr(Trainer, name)).parameters) == SIGNATURES[name]


def test_the_table_names_every_override():
    overridden = {
        name
        for cls in (CompressionMixin, TrainsProjections, PushesWhole)
        for name, value in vars(cls).items()
        if inspect.isfunction(value) and hasattr(Trainer, name)
    }
    assert overridden - {"__init__"} == set(SIGNATURES)


def test_the_mixin_stays_small():
    def lines(thing):
        return len(inspect.getsource(thing).splitlines())

    (loss,) = ast.parse(textwrap.dedent(inspect.getsource(CompressionMixin.compute_loss))).body
    after_docstring = loss.body[1]
    assert lines(CompressionMixin) <= 180
    assert loss.end_lineno - after_docstring.lineno + 1 <= 10


def test_attributes_the_loss_relies_on_exist(tmp_path):
    trainer = llama_trainer(tmp_path, {})
    assert trainer.loss_is_scaled_for_ga is None
    assert trainer.get_tp_size() == 1
    assert trainer.args.average_tokens_across_devices is True
    assert isinstance(trainer.model_accepts_loss_kwargs, bool)


def test_hooks_come_in_the_order_the_callbacks_were_written_for(tmp_path):
    seen = []

    class Watch(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            seen.append(("pre_optimizer_step", state.global_step))

        def on_optimizer_step(self, args, state, control, **kwargs):
            seen.append(("optimizer_step", state.global_step))

        def on_step_end(self, args, state, control, **kwargs):
            seen.append(("step_end", state.global_step))

        def on_evaluate(self, args, state, control, **kwargs):
            seen.append(("evaluate", state.global_step))

        def on_save(self, args, state, control, **kwargs):
            seen.append(("save", state.global_step))

    class Clipping(Trainer):
        def _clip_grad_norm(self, model):
            seen.append(("clip", self.state.global_step))
            return super()._clip_grad_norm(model)

    llama_trainer(
        tmp_path, {}, cls=Clipping, callbacks=[Watch()], max_steps=1, save_steps=1, eval_strategy="steps", eval_steps=1
    ).train()
    assert seen == [
        ("clip", 0),
        ("pre_optimizer_step", 0),
        ("optimizer_step", 0),
        ("step_end", 1),
        ("evaluate", 1),
        ("save", 1),
    ]


def test_gradient_norm_counts_only_weights_that_are_left(tmp_path):
    """Logged norm == norm of the gradients after masking, computed here by hand."""
    from hf_compress import Constant, Pruning

    norms = []

    class Norm(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            total = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
            zeros = sum(int(((p == 0) & (p.grad != 0)).sum()) for p in model.parameters() if p.grad is not None)
            norms.append((float(total), zeros))

    job = Pruning(schedule=Constant(final=0.5, begin=1, end=1))
    trainer = llama_trainer(tmp_path, {"pruning": job}, callbacks=[Norm()], max_steps=4, logging_steps=1, max_grad_norm=1e9)
    trainer.train()
    logged = [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
    assert [norm for norm, _ in norms] == pytest.approx(logged, rel=1e-5)
    assert all(zeros == 0 for _, zeros in norms[1:])
