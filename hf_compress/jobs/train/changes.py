"""What may differ between the recipe of a run and the one it goes on with."""

from typing import Any

from hf_compress._difference import MISSING, first_difference
from hf_compress.export.configuration import without_publication

RESULT = ("title", "evaluation", "export")
"""Sections that say how the result is written and measured, behind the training."""
LOGGING = frozenset(
    {
        "disable_tqdm",
        "log_level",
        "log_level_replica",
        "log_on_each_node",
        "logging_first_step",
        "logging_nan_inf_filter",
        "logging_steps",
        "logging_strategy",
        "project",
        "report_to",
        "run_name",
        "save_total_limit",
        "skip_memory_metrics",
        "trackio_bucket_id",
        "trackio_space_id",
        "trackio_static_space_id",
    }
)
"""TrainingArguments that change no weight; the best checkpoint is kept whatever `save_total_limit` says."""
SHARDING = frozenset({"fsdp", "fsdp_config"})
"""How the weights lie in processes: a run goes on from what another way has written."""
_SAVING = frozenset({"save_steps", "save_strategy"})
"""These neither, unless the best checkpoint is chosen from what was saved."""


def trained_part(recipe: Any) -> Any:
    """A train recipe as plain data, without what does not touch the training; anything else as it is."""
    if not isinstance(recipe, dict):
        return recipe
    kept = {key: value for key, value in recipe.items() if key not in RESULT}
    kept["training"] = _trained_arguments(kept.get("training"))
    if isinstance(kept["training"], dict):
        kept["training"].pop("output_dir", None)  # the folder is where it is, be it moved
    if isinstance(kept.get("dense"), dict):
        kept["dense"] = {**kept["dense"], "training": _trained_arguments(kept["dense"].get("training", {}))}
    return kept


def result_part(recipe: Any) -> dict[str, Any]:
    """The sections of the result, without where it is published, which may change when it is made."""
    found = {key: recipe[key] for key in RESULT if key in recipe} if isinstance(recipe, dict) else {}
    return without_publication(found)


def _trained_arguments(training: Any) -> Any:
    if not isinstance(training, dict):
        return training
    free = LOGGING | SHARDING | (frozenset() if training.get("load_best_model_at_end") else _SAVING)
    return {key: value for key, value in training.items() if key not in free}


def in_words(known: Any, wanted: Any) -> str | None:
    """Where the recipe of a folder and this one differ first, as a sentence part; None where they are equal."""
    place = first_difference(known, wanted)
    if place is None:
        return None
    path, there, here = place
    if there is MISSING:
        return f"{path} is set here and not there"
    return f"{path} is set there and not here" if here is MISSING else f"{path} is {there!r} there and {here!r} here"
