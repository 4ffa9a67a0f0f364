"""A run whose weights are written down after every step, to average them independently."""

import torch
from transformers import Trainer, TrainerCallback

from tests.tiny import tiny_llama
from tests.training.runs import arguments, text_rows


class Record(TrainerCallback):
    """Every parameter after every step, in fp64."""

    def __init__(self):
        self.weights = {}

    def _note(self, state, model):
        self.weights[state.global_step] = {n: p.detach().double().clone() for n, p in model.named_parameters()}

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self._note(state, model)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self._note(state, model)


def plain_trainer(folder, *callbacks, model=None, **changes):
    """A stock Trainer."""
    return Trainer(
        model=tiny_llama(seed=0) if model is None else model,
        args=arguments(folder, **changes),
        train_dataset=text_rows(),
        eval_dataset=text_rows(count=8, seed=1),
        callbacks=list(callbacks),
    )


def largest_difference(average, expected):
    assert set(average.tensors) == set(expected)
    return max(float((average.tensors[n].double() - expected[n]).abs().max()) for n in expected)


class Batch(torch.utils.data.Dataset):
    """Images with labels for models that want pixel_values."""

    def __init__(self, size, count=16, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randn(count, 3, size, size, generator=generator)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"pixel_values": self.images[index], "labels": index % 3}
