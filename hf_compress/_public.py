"""Which names `import hf_compress` offers, and where each of them lives.

Functions, trainers and configuration values are listed here. Built-in strategies are public by rule: whatever a file of a
strategy package declares under a name, so that a new one is importable without being listed. `__init__.pyi` says the same
to type checkers; scripts/public_names.py writes it.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

LISTED = {
    "_errors": ("CompressionError",),
    "calibration.collect": ("collect", "collect_fisher", "collect_gram"),
    "calibration.configuration": ("Calibration",),
    "calibration.folder": ("save_statistics",),
    "distillation.configuration": ("Distillation", "WeightedLoss"),
    "ensembling.build": ("build_cascade", "build_gating", "build_stacking", "member_logits"),
    "ensembling.configuration": ("EnsembleFit", "EnsembleMember"),
    "ensembling.fitting.deferral": ("fit_deferral",),
    "ensembling.fitting.gating": ("fit_gate",),
    "ensembling.fitting.stacking": ("fit_stacking",),
    "ensembling.fitting.step_size": ("fit_step_size",),
    "ensembling.fitting.temperature": ("fit_temperatures",),
    "ensembling.fitting.thresholds": ("choose_thresholds", "quality_cost_curve"),
    "ensembling.fitting.weights": ("fit_weights", "mixture_weights"),
    "ensembling.modelling.gate": ("Gate",),
    "ensembling.modelling.models": (
        "Cascade",
        "EnsembleConfig",
        "Gating",
        "ParallelEnsemble",
        "ResidualEnsemble",
        "Stacking",
    ),
    "ensembling.text_likelihood": ("text_log_likelihood",),
    "evaluation.bootstrap": ("Bootstrap",),
    "evaluation.configuration": ("Evaluation",),
    "evaluation.cost.configuration": ("Cost",),
    "evaluation.cost.measure": ("measure_cost",),
    "evaluation.evaluate": ("evaluate_model",),
    "evaluation.harness": ("Harness",),
    "evaluation.in_turns": ("Latency",),
    "evaluation.model_evaluation": ("ModelEvaluation",),
    "evaluation.sliding_window": ("SlidingWindow",),
    "export.configuration": ("Export", "GraphExport"),
    "export.formats.compressed_tensors": ("save_compressed",),
    "export.formats.dense": ("save_dense",),
    "export.merged": ("merge",),
    "export.push": ("push",),
    "export.serving.check": ("check_serving",),
    "inputs.sections": ("Data", "FreshModel", "FreshTokenizer"),
    "jobs.train.member": ("TrainMember",),
    "jobs.train.save_result": ("save_result",),
    "jobs.train.settings": ("Dense",),
    "merging.configuration": ("Heads", "LayerRange", "Member", "Merge", "Rule", "Slice", "Sparsity", "Tokenizer"),
    "merging.engine.in_memory": ("merge_state_dicts",),
    "merging.lora.apply": ("apply_adapters",),
    "merging.lora.combine": ("merge_adapters",),
    "merging.lora.extract": ("extract_lora",),
    "merging.mergekit.read": ("import_mergekit",),
    "merging.search.adamerging": ("adamerging",),
    "merging.search.coefficient_search": ("search_coefficients",),
    "merging.search.greedy_soup": ("greedy_soup",),
    "merging.search.learned_soup": ("learned_soup",),
    "pruning.configuration": ("Pruning",),
    "pruning.merge_adapter": ("merge_and_keep_zeros",),
    "pruning.prune": ("prune",),
    "pruning.reconstruction": ("Reconstruction",),
    "pruning.shrink.apply": ("shrink",),
    "pruning.shrink.choice": ("ShrinkChoice",),
    "pruning.shrink.plan": ("ShrinkPlan", "UsedVocabulary"),
    "pruning.shrink.vocabulary": ("SmallerVocabulary", "shrink_vocabulary"),
    "pruning.shrink.within_budget": ("choose_parts",),
    "quantization.configuration": ("Quantization",),
    "quantization.groups": ("Group",),
    "quantization.ptq": ("quantize",),
    "recipe.recipe": ("Recipe",),
    "training.averaging.batch_norm": ("update_batch_norm",),
    "training.averaging.ema": ("EMA",),
    "training.averaging.snapshots": ("Snapshots",),
    "training.averaging.swa": ("SWA",),
    "training.mixin": ("CompressionMixin",),
    "training.residual": ("ResidualTrainer",),
    "training.trainer": ("CompressionSeq2SeqTrainer", "CompressionTrainer"),
}
"""Module below hf_compress -> its public names."""

STRATEGIES = (
    "calibration.statistics",
    "distillation.losses",
    "distillation.teachers",
    "ensembling.combiners",
    "ensembling.confidences",
    "ensembling.fusions",
    "evaluation.cost.runtimes",
    "export.formats",
    "jobs",
    "jobs.train_ensemble.diversities",
    "merging.methods",
    "pruning.allocations",
    "pruning.criteria",
    "pruning.patterns",
    "pruning.schedules",
    "pruning.solvers",
    "quantization.modules",
    "quantization.schemes",
    "tasks.builtin",
    "tasks.metrics.builtin",
)
"""Packages whose strategies are public; a test holds them against the registries."""
INTERNAL = ("architectures", "quantization.modules", "tasks.rows")
"""Packages whose strategies nobody names: a model's type, its modules, or its head, choose them."""


@functools.cache
def homes() -> dict[str, str]:
    """Public name -> the module that defines it, sorted by name."""
    found = {name: f"hf_compress.{module}" for module, names in LISTED.items() for name in names}
    for package in STRATEGIES:
        folder = Path(__file__).parent.joinpath(*package.split("."))
        for file in sorted([*folder.glob("*.py"), *folder.glob("*/recipe.py")]):
            if file.stem != "__init__":
                inner = ".".join(file.relative_to(folder).with_suffix("").parts)
                found |= dict.fromkeys(_declared(file), f"hf_compress.{package}.{inner}")
    return dict(sorted(found.items()))


def _declared(file: Path) -> Iterator[str]:
    """Strategies that a file declares: `class Ties(MergeMethod, name="ties")`, or `W4A16 = preset("W4A16", ...)`."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and any(keyword.arg == "name" for keyword in node.keywords):
            yield node.name
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            first = next(iter(node.value.args), None)
            if isinstance(first, ast.Constant) and first.value == node.targets[0].id:
                yield node.targets[0].id
