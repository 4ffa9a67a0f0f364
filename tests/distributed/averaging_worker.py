"""Averages in one of two processes: `python -m torch.distributed.run ... averaging_worker.py <folder>`."""

import gc
import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_compress import _distributed
from hf_compress.training.averaging.ema import EMA
from hf_compress.training.averaging.snapshots import Snapshots
from hf_compress.training.averaging.swa import SWA
from hf_compress.training.averaging.tensors import full_state_dict
from tests.distributed.fsdp2 import allow_sharding_on_cpu
from tests.tiny import tiny_llama
from tests.training.averaging.recorded import Record, plain_trainer


def replicated(folder):
    """A stock Trainer under DDP: straight, and resumed in the middle."""
    record, swa, ema = Record(), SWA(begin=2, every=2), EMA(decay=0.5, evaluate_with_average=True)
    settings = {"per_device_train_batch_size": 2, "max_steps": 6, "eval_strategy": "steps", "eval_steps": 2}
    trainer = plain_trainer(folder, record, swa, ema, **settings)
    assert trainer.accelerator.num_processes == 2
    trainer.train()
    resumed = SWA(begin=2, every=2), EMA(decay=0.5, evaluate_with_average=True)
    plain_trainer(folder, *resumed, **settings).train(resume_from_checkpoint=str(folder / "checkpoint-3"))
    averages = {"swa": swa, "ema": ema, "swa_resumed": resumed[0], "ema_resumed": resumed[1]}
    result = {name: average.average.tensors for name, average in averages.items()}
    torch.save({"weights": record.weights, **result}, folder / f"rank{trainer.args.process_index}.pt")


def full(tensor):
    return tensor.full_tensor().detach().clone() if isinstance(tensor, DTensor) else tensor.detach().clone()


def all_full(model):
    """To be called between a backward and a forward pass, while everything is sharded."""
    return {name: full(parameter) for name, parameter in model.named_parameters()}


class ByHand:
    """The hooks of a Trainer around a model that FSDP2 has sharded, in their order."""

    def __init__(self, folder, *callbacks, steps=6):
        self.model = tiny_llama(seed=0, vocab_size=63)  # 63 rows do not divide by two
        mesh = init_device_mesh("cpu", (2,))
        for layer in self.model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(self.model, mesh=mesh)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.args = TrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none", save_steps=3, max_steps=steps)
        main = _distributed.is_main()
        self.state = TrainerState(max_steps=steps, is_world_process_zero=main, is_local_process_zero=main)
        self.control, self.callbacks = TrainerControl(), callbacks
        self.folder, self.weights, self.losses = folder, [], []

    def call(self, hook):
        for callback in self.callbacks:
            getattr(callback, hook)(self.args, self.state, self.control, model=self.model)

    def loss(self, seed):
        tokens = torch.randint(3, 60, (2, 8), generator=torch.Generator().manual_seed(seed))
        return self.model(input_ids=tokens, labels=tokens).loss

    def restore(self, step, weights):
        self.state.global_step = step
        for name, parameter in self.model.named_parameters():
            shard = torch.chunk(weights[name], 2)[torch.distributed.get_rank()]
            parameter.to_local().data.copy_(shard)

    def train(self):
        self.call("on_train_begin")
        self.weights.append(all_full(self.model))
        while self.state.global_step < self.state.max_steps:
            self.call("on_step_begin")
            self.loss(self.state.global_step).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.state.global_step += 1
            self.weights.append(all_full(self.model))
            self.control.should_evaluate = self.state.global_step % 2 == 0
            self.control.should_save = self.state.global_step % 3 == 0
            self.call("on_step_end")
            if self.control.should_evaluate:
                self.model.eval()
                with torch.no_grad():
                    self.losses.append(self.loss(100).item())
                    self.losses.append(self.loss(100).item())
                self.call("on_evaluate")
                self.model.train()
            if self.control.should_save:
                (self.folder / f"checkpoint-{self.state.global_step}").mkdir(parents=True, exist_ok=True)
                self.call("on_save")
        self.call("on_train_end")


def sharded(folder):
    without = ByHand(folder / "without")
    without.train()
    swa, ema, snapshots = SWA(begin=1, every=2), EMA(decay=0.5, evaluate_with_average=True), Snapshots(every=3)
    run = ByHand(folder, swa, ema, snapshots)
    run.train()
    assert all(torch.equal(a[n], b[n]) for a, b in zip(without.weights, run.weights, strict=True) for n in a)
    resumed = SWA(begin=1, every=2), EMA(decay=0.5, evaluate_with_average=True)
    again = ByHand(folder, *resumed)
    again.restore(3, run.weights[3])
    again.train()
    for one, other in ((swa, resumed[0]), (ema, resumed[1])):
        assert one.average.num_points == other.average.num_points
        assert all(torch.equal(t, other.average.tensors[n]) for n, t in one.average.tensors.items())
    torch.save({"weights": run.weights, "losses": run.losses}, folder / f"rank{torch.distributed.get_rank()}.pt")


def sharded_by_the_trainer(folder):
    """A stock Trainer with fsdp=True: without an average, with one, and resumed in the middle."""
    allow_sharding_on_cpu()
    settings = {
        "per_device_train_batch_size": 2,
        "max_steps": 6,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
            "state_dict_type": "SHARDED_STATE_DICT",  # the stock Trainer cannot write the other kind on CPUs
        },
    }
    plain = plain_trainer(folder / "plain", **settings)
    plain.train()
    assert plain.is_fsdp_enabled
    ema, again = EMA(decay=0.5, evaluate_with_average=True), EMA(decay=0.5, evaluate_with_average=True)
    averaged = plain_trainer(folder / "averaged", ema, **settings)
    averaged.train()
    resumed = plain_trainer(folder / "averaged", again, **settings)
    resumed.train(resume_from_checkpoint=str(folder / "averaged" / "checkpoint-3"))
    assert any(isinstance(parameter, DTensor) for parameter in averaged.model.parameters())
    ends = [full_state_dict(trainer.model, keep=True) for trainer in (plain, averaged, resumed)]
    assert all(torch.equal(ends[0][n], ends[1][n]) and torch.equal(ends[0][n], ends[2][n]) for n in ends[0])
    assert all(torch.equal(tensor, again.average.tensors[name]) for name, tensor in ema.average.tensors.items())
    torch.save(ema.average.state_dict(averaged.model, keep=True), folder / f"rank{torch.distributed.get_rank()}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # every training collects, and would walk through the libraries
    folder = Path(sys.argv[1])
    replicated(folder / "replicated")
    sharded(folder / "sharded")
    AcceleratorState._reset_state(reset_partial_state=False)
    sharded_by_the_trainer(folder / "trainer")
    _distributed.leave()
