"""Short compression runs on tiny models, shared by the invariants."""

import functools

import torch
from datasets import Dataset
from transformers import TrainingArguments

from hf_compress import W4A16, CompressionTrainer, Cubic, Distillation, ForwardKL, Pruning, Quantization
from tests.tiny import tiny_llama, tiny_vit


@functools.cache  # nobody changes rows
def text_rows(count=32, length=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(3, 60, (count, length), generator=generator).tolist()
    return Dataset.from_list([{"input_ids": row, "labels": row} for row in rows])


def image_rows(model, count=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = model.config.image_size
    return Dataset.from_list(
        [
            {"pixel_values": torch.randn(3, size, size, generator=generator).tolist(), "labels": index % 3}
            for index in range(count)
        ]
    )


def arguments(folder, **changes):
    defaults = {
        "output_dir": str(folder),
        "max_steps": 12,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "use_cpu": True,
        "save_steps": 3,
        "logging_steps": 4,
        "disable_tqdm": True,
        "report_to": "none",
    }
    return TrainingArguments(**{**defaults, **changes})


def pruning(**changes):
    return Pruning(schedule=Cubic(**{"final": 0.5, "begin": "0%", "end": "50%", "every": 2, **changes}))


def quantization(begin="60%", group_size=16):
    return Quantization(scheme=W4A16(group_size=group_size), begin=begin)


def distillation():
    return Distillation(losses=[(0.7, ForwardKL(temperature=2.0))])


def everything():
    return {"pruning": pruning(), "quantization": quantization(), "distillation": distillation()}


def llama_trainer(folder, jobs=None, model=None, cls=CompressionTrainer, callbacks=None, **changes):
    jobs = everything() if jobs is None else jobs
    return cls(
        model=tiny_llama(seed=0) if model is None else model,
        args=arguments(folder, **changes),
        train_dataset=text_rows(),
        eval_dataset=text_rows(count=8, seed=1),
        callbacks=callbacks,
        **jobs,
    )


def vit_trainer(folder, jobs=None, callbacks=None, **changes):
    model = tiny_vit(seed=0, num_labels=3)
    return CompressionTrainer(
        model=model,
        args=arguments(folder, **changes),
        train_dataset=image_rows(model),
        eval_dataset=image_rows(model, count=8, seed=1),
        callbacks=callbacks,
        **(everything() if jobs is None else jobs),
    )


def weights(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_equal_bits(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
