"""Runs that one process does whole and several do in shards; shared with the worker."""

from dataclasses import dataclass

from hf_compress import NM, W4A16, W8A8, Calibration, Cubic, Distillation, ForwardKL, Global, Pruning, Quantization
from hf_compress.pruning.criterion import Criterion
from tests.tiny import tiny_gpt2
from tests.training.runs import llama_trainer


@dataclass(frozen=True, kw_only=True)
class TimesInput(Criterion):
    """|w| times the length of what it meets; not registered."""

    name = "times_input"
    needs = ("input_norm",)
    one_by_one = True

    def score(self, weight, stats):
        return weight.detach().float().abs() * stats["input_norm"]


STEPS = 8
SETTINGS = {
    "max_steps": STEPS,
    "optim": "sgd",  # AdamW divides by the size of a gradient, so that of a weight that hardly moves is rounding alone
    "learning_rate": 0.03,
    "save_strategy": "no",
    "logging_steps": 2,
}
BATCH = 4
"""Rows per step, over all processes."""


def _schedule():
    return Cubic(final=0.5, begin="0%", end="50%", every=2)


def _distillation():
    return Distillation(losses=[(0.7, ForwardKL(temperature=2.0))])


def everything():
    return {
        "pruning": Pruning(schedule=_schedule()),
        "quantization": Quantization(scheme=W4A16(group_size=16), begin="60%"),
        "distillation": _distillation(),
    }


JOBS = {
    "pruned, int4 in groups, taught": everything,
    "pruned over all layers, int8 with activations": lambda: {
        "pruning": Pruning(schedule=_schedule(), allocation=Global()),
        "quantization": Quantization(scheme=W8A8(), begin="60%"),
    },
    "2:4, taught": lambda: {
        "pruning": Pruning(schedule=_schedule(), pattern=NM(n=2, m=4)),
        "distillation": _distillation(),
    },
    "columns are cut, inputs are looked at": lambda: {
        "pruning": Pruning(schedule=_schedule(), criterion=TimesInput(), pattern=NM(n=2, m=4), targets=("Conv1D",)),
        "calibration": Calibration(num_examples=6, batch_size=2),
    },
}
"""The last on a model whose layers store columns first, so that a shard holds columns; three batches for the processes."""
COLUMNS = list(JOBS)[-1]


def run(name, folder, processes, jobs=None, model=None, **changes):
    """A trainer that has not trained."""
    if name == COLUMNS:
        model = tiny_gpt2(seed=0)
        for module in model.modules():  # dropout would draw differently in every process
            if hasattr(module, "p"):
                module.p = 0.0
    settings = {**SETTINGS, "per_device_train_batch_size": BATCH // processes, **changes}
    return llama_trainer(folder, jobs or JOBS[name](), model=model, **settings)
