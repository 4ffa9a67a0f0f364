"""What each of two processes allocates while a sharded model is put together: `memory_worker.py <folder> <strategy>`."""

import json
import re
import sys
import threading
from pathlib import Path

import torch

from hf_compress.training.gathered import GATHERED
from tests.distributed import deepspeed_on_cpu
from tests.distributed.fsdp2 import allow_sharding_on_cpu, fsdp2
from tests.tiny import tiny_llama
from tests.training.runs import llama_trainer, pruning

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


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, strategy = Path(sys.argv[1]), sys.argv[2]
    deepspeed_on_cpu.start() if strategy == "zero3" else allow_sharding_on_cpu()
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
    (folder / f"said{torch.distributed.get_rank()}.json").write_text(json.dumps(said))
