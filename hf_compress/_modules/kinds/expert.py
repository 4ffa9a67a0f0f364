"""The matrices of packed experts, which `ExpertMatrix` shows as layers of their own."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from hf_compress._modules.module_kind import ModuleKind
from hf_compress._modules.packed import ExpertMatrix


@dataclass(frozen=True, kw_only=True)
class Expert(ModuleKind, name="expert"):
    """y = x W^T, W (O, I) one of the matrices in a parameter (E, O, I)."""

    classes: ClassVar[tuple[type[nn.Module], ...]] = (ExpertMatrix,)
