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
    "EMA": "hf_compress.training.averaging.ema",
    "ForwardKL": "hf_compress.distillation.losses.forward_kl",
    "Global": "hf_compress.pruning.allocations.global_",
    "Linear": "hf_compress.merging.methods.linear",
    "LinearRamp": "hf_compress.pruning.schedules.linear",
    "Magnitude": "hf_compress.pruning.criteria.magnitude",
    "Member": "hf_compress.merging.configuration",
    "Merge": "hf_compress.merging.configuration",
    "ModelTeacher": "hf_compress.distillation.teachers.model",
    "NM": "hf_compress.pruning.patterns.n_m",
    "Pruning": "hf_compress.pruning.configuration",
    "Quantization": "hf_compress.quantization.configuration",
    "Recipe": "hf_compress.recipe.recipes",
    "Rule": "hf_compress.merging.configuration",
    "SWA": "hf_compress.training.averaging.swa",
    "Slerp": "hf_compress.merging.methods.slerp",
    "Snapshots": "hf_compress.training.averaging.snapshots",
    "TaskArithmetic": "hf_compress.merging.methods.task_arithmetic",
    "Uniform": "hf_compress.pruning.allocations.uniform",
    "Unstructured": "hf_compress.pruning.patterns.unstructured",
    "W4A16": "hf_compress.quantization.schemes.w4a16",
    "WeightedLoss": "hf_compress.distillation.configuration",
    "apply_adapters": "hf_compress.merging.lora_apply",
    "extract_lora": "hf_compress.merging.lora_extract",
    "import_mergekit": "hf_compress.merging.mergekit_yaml",
    "merge": "hf_compress.export.merged",
    "merge_adapters": "hf_compress.merging.lora_merge",
    "prune": "hf_compress.pruning.prune",
    "quantize": "hf_compress.quantization.ptq",
    "save_compressed": "hf_compress.export.compressed_tensors",
    "save_dense": "hf_compress.export.dense",
    "update_batch_norm": "hf_compress.training.averaging.batch_norm",
}

__all__ = ["__version__", *sorted(_HOMES)]

if TYPE_CHECKING:
    from hf_compress._errors import CompressionError
    from hf_compress.distillation.configuration import Distillation, WeightedLoss
    from hf_compress.distillation.losses.forward_kl import ForwardKL
    from hf_compress.distillation.teachers.model import ModelTeacher
    from hf_compress.export.compressed_tensors import save_compressed
    from hf_compress.export.dense import save_dense
    from hf_compress.export.merged import merge
    from hf_compress.merging.configuration import Member, Merge, Rule
    from hf_compress.merging.lora_apply import apply_adapters
    from hf_compress.merging.lora_extract import extract_lora
    from hf_compress.merging.lora_merge import merge_adapters
    from hf_compress.merging.mergekit_yaml import import_mergekit
    from hf_compress.merging.methods.linear import Linear
    from hf_compress.merging.methods.slerp import Slerp
    from hf_compress.merging.methods.task_arithmetic import TaskArithmetic
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
    from hf_compress.training.averaging.batch_norm import update_batch_norm
    from hf_compress.training.averaging.ema import EMA
    from hf_compress.training.averaging.snapshots import Snapshots
    from hf_compress.training.averaging.swa import SWA
    from hf_compress.training.mixin import CompressionMixin
    from hf_compress.training.trainer import CompressionSeq2SeqTrainer, CompressionTrainer


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'hf_compress' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
