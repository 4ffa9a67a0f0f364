"""PyTorch's compiler."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress.evaluation.cost.runtime import Prepared, Runtime


@dataclass(frozen=True, kw_only=True)
class Compile(Runtime, name="compile"):
    """`torch.compile` with its defaults, anew for every shape; compiling is the first call, which is told apart."""

    takes_packed: ClassVar[bool] = True

    def missing(self, device: torch.device) -> str:
        """Code for processors is C++, which needs a compiler."""
        compilers = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
        if device.type == "cpu" and not any(name and shutil.which(name) for name in compilers):
            return "torch.compile needs a C++ compiler for this processor, and none is found; install g++, or set CXX"
        return ""

    def prepare(self, model: Any, batch: Mapping[str, Tensor]) -> Prepared:
        """Compiling itself waits for the first batch."""
        compiled = torch.compile(model, dynamic=False)

        @torch.no_grad()
        def run(inputs: Mapping[str, Tensor]) -> Any:
            return compiled(**inputs)

        # Without it the limit of versions of one function would end in uncompiled code.
        return Prepared(call=run, anew=torch.compiler.reset)
