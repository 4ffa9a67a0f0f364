"""What each of two processes allocates while a sharded model is put together: `memory_worker.py <folder> <strategy>`."""

import json
import re
import sys
import threading
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from hf_compress import CompressionTrainer
from hf_compress.inputs.models import load_model
from hf_compress.training.gathered import GATHERED
from hf_compress.training.loading import first_loads
from tests.distributed import deepspeed_on_cpu
from tests.distributed.fsdp2 import allow_sharding_on_cpu, fsdp2
from tests.tiny import tiny_llama
from tests.training.runs import arguments, distillation, llama_trainer, pruning, text_rows

WIDE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 4, "num_key_value_heads": 4}
ZERO3 = {
    "train_micro_batch_size_per_gpu": "auto",
    "train_batch_size": "auto",
    "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
}
STRATEGIES = {"fsdp2": fsdp2(), "zero3": {"use_cpu": False, "deepspeed": ZERO3}}


def allocated():
    """Bytes of this process that lie in no file."""
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def most_allocated(action):
    """What `action` returns, and by how much the process has grown at most meanwhile."""
    before, ended = allocated(), threading.Event()
    found = [before]

    def watch():
        while not ended.wait(0.0005):
            found.append(allocated())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = action()
    finally:
        ended.set()
        watcher.join()
    return result, max(found) - before


def load(folder, first):
    """A student from a checkpoint and a teacher like it, ready to train: loaded by all, or by the first process alone."""
    settings = {"save_strategy": "no", **fsdp2(cpu_ram_efficient_loading=first)}
    args = arguments(folder / "run", **settings)
    config = AutoConfig.from_pretrained(folder / "half")
    weights = torch.distributed.get_rank() == 0 or not first_loads(args)
    model = load_model(AutoModelForCausalLM, str(folder / "half"), config, seed=0, weights=weights)
    jobs = {"pruning": pruning(), "distillation": distillation()}
    return CompressionTrainer(model=model, args=args, train_dataset=text_rows(), **jobs)


def loading(folder):
    """A checkpoint in 16 bits, so that what is loaded in 32 does not lie in its file."""
    if torch.distributed.get_rank() == 0:
        tiny_llama(seed=0, **WIDE).to(torch.bfloat16).save_pretrained(folder / "half")
    torch.distributed.barrier()
    return {name: most_allocated(lambda first=first: load(folder, first))[1] for name, first in FIRST.items()}


FIRST = {"by all": False, "by the first": True}


def putting_together(folder, strategy):
    model = tiny_llama(seed=0, **WIDE)
    sizes = [parameter.nbytes for parameter in model.parameters()]
    settings = {"optim": "sgd", "max_steps": 2, "save_strategy": "no", "per_device_train_batch_size": 1}
    trainer = llama_trainer(folder / "run", {"pruning": pruning()}, model=model, **{**settings, **STRATEGIES[strategy]})
    del model
    trainer.train()
    said = {"model": sum(sizes), "largest": max(sizes)}
    said["save_model"] = most_allocated(lambda: trainer.save_model(str(folder / "dense")))[1]
    _, said["finalize"] = most_allocated(lambda: trainer.finalize())
    said["left"] = [str(file) for file in folder.rglob(GATHERED)]
    return said


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, strategy = Path(sys.argv[1]), sys.argv[2]
    deepspeed_on_cpu.start() if strategy == "zero3" else allow_sharding_on_cpu()
    if strategy == "loading":
        arguments(folder / "run", **fsdp2())  # begins the group
        said = loading(folder)
    else:
        said = putting_together(folder, strategy)
    (folder / f"said{torch.distributed.get_rank()}.json").write_text(json.dumps(said))
