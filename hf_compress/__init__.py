"""hf_compress: pruning, quantization-aware training and distillation inside the transformers Trainer, and model merging.

The public names below are imported on first use, so that `import hf_compress` and `hf-compress --help` stay instant.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "ArceeFusion": "hf_compress.merging.methods.arcee_fusion",
    "Breadcrumbs": "hf_compress.merging.methods.breadcrumbs",
    "BreadcrumbsTies": "hf_compress.merging.methods.breadcrumbs_ties",
    "CompressionError": "hf_compress._errors",
    "CompressionMixin": "hf_compress.training.mixin",
    "CompressionSeq2SeqTrainer": "hf_compress.training.trainer",
    "CompressionTrainer": "hf_compress.training.trainer",
    "Constant": "hf_compress.pruning.schedules.constant",
    "Cubic": "hf_compress.pruning.schedules.cubic",
    "DareLinear": "hf_compress.merging.methods.dare_linear",
    "DareTies": "hf_compress.merging.methods.dare_ties",
    "Della": "hf_compress.merging.methods.della",
    "DellaLinear": "hf_compress.merging.methods.della_linear",
    "Distillation": "hf_compress.distillation.configuration",
    "EMA": "hf_compress.training.averaging.ema",
    "FP8_DYNAMIC": "hf_compress.quantization.schemes.presets",
    "Fisher": "hf_compress.merging.methods.fisher",
    "ForwardKL": "hf_compress.distillation.losses.forward_kl",
    "Global": "hf_compress.pruning.allocations.global_",
    "Group": "hf_compress.quantization.groups",
    "Heads": "hf_compress.merging.configuration",
    "IsoC": "hf_compress.merging.methods.iso_c",
    "Karcher": "hf_compress.merging.methods.karcher",
    "LayerRange": "hf_compress.merging.configuration",
    "Linear": "hf_compress.merging.methods.linear",
    "LinearRamp": "hf_compress.pruning.schedules.linear",
    "MSE": "hf_compress.distillation.losses.mse",
    "Magnitude": "hf_compress.pruning.criteria.magnitude",
    "Member": "hf_compress.merging.configuration",
    "Merge": "hf_compress.merging.configuration",
    "ModelStock": "hf_compress.merging.methods.model_stock",
    "ModelTeacher": "hf_compress.distillation.teachers.model",
    "MultiSlerp": "hf_compress.merging.methods.multislerp",
    "NM": "hf_compress.pruning.patterns.n_m",
    "NearSwap": "hf_compress.merging.methods.nearswap",
    "NuSlerp": "hf_compress.merging.methods.nuslerp",
    "Passthrough": "hf_compress.merging.methods.passthrough",
    "Pruning": "hf_compress.pruning.configuration",
    "Quantization": "hf_compress.quantization.configuration",
    "Recipe": "hf_compress.recipe.recipe",
    "RegMean": "hf_compress.merging.methods.regmean",
    "Rule": "hf_compress.merging.configuration",
    "SWA": "hf_compress.training.averaging.swa",
    "Sce": "hf_compress.merging.methods.sce",
    "Slerp": "hf_compress.merging.methods.slerp",
    "Slice": "hf_compress.merging.configuration",
    "Snapshots": "hf_compress.training.averaging.snapshots",
    "Sparsity": "hf_compress.merging.configuration",
    "TaskArithmetic": "hf_compress.merging.methods.task_arithmetic",
    "Ties": "hf_compress.merging.methods.ties",
    "Tokenizer": "hf_compress.merging.configuration",
    "TsvM": "hf_compress.merging.methods.tsv_m",
    "Uniform": "hf_compress.pruning.allocations.uniform",
    "Unstructured": "hf_compress.pruning.patterns.unstructured",
    "W4A16": "hf_compress.quantization.schemes.presets",
    "W4A8": "hf_compress.quantization.schemes.presets",
    "W8A16": "hf_compress.quantization.schemes.presets",
    "W8A8": "hf_compress.quantization.schemes.presets",
    "WeightedLoss": "hf_compress.distillation.configuration",
    "WiseFT": "hf_compress.merging.methods.wise_ft",
    "adamerging": "hf_compress.merging.search.adamerging",
    "apply_adapters": "hf_compress.merging.lora.apply",
    "collect": "hf_compress.calibration.collect",
    "collect_fisher": "hf_compress.calibration.collect",
    "collect_gram": "hf_compress.calibration.collect",
    "extract_lora": "hf_compress.merging.lora.extract",
    "greedy_soup": "hf_compress.merging.search.greedy_soup",
    "import_mergekit": "hf_compress.merging.mergekit.read",
    "learned_soup": "hf_compress.merging.search.learned_soup",
    "merge": "hf_compress.export.merged",
    "merge_adapters": "hf_compress.merging.lora.combine",
    "merge_state_dicts": "hf_compress.merging.engine.in_memory",
    "prune": "hf_compress.pruning.prune",
    "quantize": "hf_compress.quantization.ptq",
    "save_compressed": "hf_compress.export.compressed_tensors",
    "save_dense": "hf_compress.export.dense",
    "save_result": "hf_compress.jobs.train.save_result",
    "save_statistics": "hf_compress.calibration.folder",
    "search_coefficients": "hf_compress.merging.search.coefficient_search",
    "update_batch_norm": "hf_compress.training.averaging.batch_norm",
}

__all__ = ["__version__", *sorted(_HOMES)]

if TYPE_CHECKING:
    from hf_compress._errors import CompressionError
    from hf_compress.calibration.collect import collect, collect_fisher, collect_gram
    from hf_compress.calibration.folder import save_statistics
    from hf_compress.distillation.configuration import Distillation, WeightedLoss
    from hf_compress.distillation.losses.forward_kl import ForwardKL
    from hf_compress.distillation.losses.mse import MSE
    from hf_compress.distillation.teachers.model import ModelTeacher
    from hf_compress.export.compressed_tensors import save_compressed
    from hf_compress.export.dense import save_dense
    from hf_compress.export.merged import merge
    from hf_compress.jobs.train.save_result import save_result
    from hf_compress.merging.configuration import Heads, LayerRange, Member, Merge, Rule, Slice, Sparsity, Tokenizer
    from hf_compress.merging.engine.in_memory import merge_state_dicts
    from hf_compress.merging.lora.apply import apply_adapters
    from hf_compress.merging.lora.combine import merge_adapters
    from hf_compress.merging.lora.extract import extract_lora
    from hf_compress.merging.mergekit.read import import_mergekit
    from hf_compress.merging.methods.arcee_fusion import ArceeFusion
    from hf_compress.merging.methods.breadcrumbs import Breadcrumbs
    from hf_compress.merging.methods.breadcrumbs_ties import BreadcrumbsTies
    from hf_compress.merging.methods.dare_linear import DareLinear
    from hf_compress.merging.methods.dare_ties import DareTies
    from hf_compress.merging.methods.della import Della
    from hf_compress.merging.methods.della_linear import DellaLinear
    from hf_compress.merging.methods.fisher import Fisher
    from hf_compress.merging.methods.iso_c import IsoC
    from hf_compress.merging.methods.karcher import Karcher
    from hf_compress.merging.methods.linear import Linear
    from hf_compress.merging.methods.model_stock import ModelStock
    from hf_compress.merging.methods.multislerp import MultiSlerp
    from hf_compress.merging.methods.nearswap import NearSwap
    from hf_compress.merging.methods.nuslerp import NuSlerp
    from hf_compress.merging.methods.passthrough import Passthrough
    from hf_compress.merging.methods.regmean import RegMean
    from hf_compress.merging.methods.sce import Sce
    from hf_compress.merging.methods.slerp import Slerp
    from hf_compress.merging.methods.task_arithmetic import TaskArithmetic
    from hf_compress.merging.methods.ties import Ties
    from hf_compress.merging.methods.tsv_m import TsvM
    from hf_compress.merging.methods.wise_ft import WiseFT
    from hf_compress.merging.search.adamerging import adamerging
    from hf_compress.merging.search.coefficient_search import search_coefficients
    from hf_compress.merging.search.greedy_soup import greedy_soup
    from hf_compress.merging.search.learned_soup import learned_soup
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
    from hf_compress.quantization.groups import Group
    from hf_compress.quantization.ptq import quantize
    from hf_compress.quantization.schemes.presets import FP8_DYNAMIC, W4A8, W4A16, W8A8, W8A16
    from hf_compress.recipe.recipe import Recipe
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
