"""DeepSpeed where there is no accelerator: on CPUs, over gloo, without compiling anything. For tests alone.

accelerate looks for the backend of an accelerator and starts no group where it finds none; DeepSpeed compiles a faster
all-reduce when a group begins, which takes a minute and a compiler.
"""

import functools
import os

PACKAGE = "deepspeed"


def start():
    """DeepSpeed, ready for `initialize` and for a Trainer."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed
    import transformers.training_args
    from accelerate.state import PartialState

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.ops.__compatible_ops__["shm_comm"] = False
    original = PartialState._prepare_backend

    @functools.wraps(original)
    def prepare(self, *arguments, **named):
        backend, kind = original(self, *arguments, **named)
        asked = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
        return ("gloo" if asked and backend is None else backend), kind

    PartialState._prepare_backend = prepare
    transformers.training_args.is_torch_bf16_gpu_available = lambda: True  # CPUs compute in bf16, and this asks for GPUs
    return deepspeed
