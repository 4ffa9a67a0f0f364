"""hf_compress: pruning, quantization-aware training and distillation inside the transformers Trainer.

The public names below are imported on first use, so that `import hf_compress` and `hf-compress --help` stay instant.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "CompressionError": "hf_compress._errors",
    "CompressionMixin": "hf_compress.training.mixin",
    "CompressionSeq2SeqTrainer": "hf_compress.training.trainer",
    "CompressionTrainer": "hf_compress.training.trainer",
    "Constant": "hf_compress.pruning.schedules.constant",
    "Cubic": "hf_compress.pruning.schedules.cubic",
    "Distillation": "hf_compress.distillation.configuration",
    "ForwardKL": "hf_compress.distillation.losses.forward_kl",
    "Global": "hf_compress.pruning.allocations.global_",
    "LinearRamp": "hf_compress.pruning.schedules.linear",
    "Magnitude": "hf_compress.pruning.criteria.magnitude",
    "ModelTeacher": "hf_compress.distillation.teachers.model",
    "NM": "hf_compress.pruning.patterns.n_m",
    "Pruning": "hf_compress.pruning.configuration",
    "Quantization": "hf_compress.quantization.configuration",
    "Recipe": "hf_compress.recipe.recipes",
    "Uniform": "hf_compress.pruning.allocations.uniform",
    "Unstructured": "hf_compress.pruning.patterns.unstructured",
    "W4A16": "hf_compress.quantization.schemes.w4a16",
    "WeightedLoss": "hf_compress.distillation.configuration",
    "prune": "hf_compress.pruning.prune",
    "quantize": "hf_compress.quantization.ptq",
    "save_compressed": "hf_compress.export.compressed_tensors",
    "save_dense": "hf_compress.export.dense",
}

__all__ = ["__version__", *sorted(_HOMES)]

if TYPE_CHECKING:
    from hf_compress._errors import CompressionError
    from hf_compress.distillation.configuration import Distillation, WeightedLoss
    from hf_compress.distillation.losses.forward_kl import ForwardKL
    from hf_compress.distillation.teachers.model import ModelTeacher
    from hf_compress.export.compressed_tensors import save_compressed
    from hf_compress.export.dense import save_dense
    from hf_compress.pruning.allocations.global_ import Global
    from hf_compress.pruning.allocations.uniform import Uniform
    from hf_compress.pruning.configuration import Pruning
    from hf_compress.pruning.criteria.magnitude import Magnitude
    from hf_compress.pruning.patterns.n_m import NM
    from hf_compress.pruning.patterns.unstructured import Unstructured
    from hf_compress.pruning.prune import prune
    from hf_compress.pruning.schedules.constant import Constant
    from hf_compress.pruning.schedules.cubic import Cubic
    from hf_compress.pruning.schedules.linear import LinearRamp
    from hf_compress.quantization.configuration import Quantization
    from hf_compress.quantization.ptq import quantize
    from hf_compress.quantization.schemes.w4a16 import W4A16
    from hf_compress.recipe.recipes import Recipe
    from hf_compress.training.mixin import CompressionMixin
    from hf_compress.training.trainer import CompressionSeq2SeqTrainer, CompressionTrainer


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'hf_compress' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
