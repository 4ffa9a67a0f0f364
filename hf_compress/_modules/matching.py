"""Which modules a setting means, and the (O, I) matrix inside each.

The targeting syntax is that of compressed-tensors, and its own matcher is used, so that `targets: [Linear]` and
`ignore: ["re:.*lm_head"]` mean during training what they will mean in the checkpoint: a class name, an exact module name,
or `re:` and a regular expression matched from the start of the name.
"""

import collections
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.adapters import COPIED, base_modules, copied_modules

DEFAULT_TARGETS = ("Linear",)


DEFAULT_IGNORE = ("re:.*(lm_head|embed_out|classifier|score|qa_outputs)",)
"""Output heads are small or tied and hurt most when compressed; every recipe can say otherwise."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a setting means in a model.

    Attributes:
        modules: the modules to compress, by canonical name, in the model's order.
        left_out: modules that a class name matched and that cannot be compressed: canonical name -> why.
        instead: what else could be targeted, as a refusal says it.
    """

    modules: dict[str, nn.Module]
    left_out: dict[str, str]
    instead: str = ""

    def without(self, reasons: Mapping[str, str], targets: Sequence[str], setting: str, instead: str = "") -> "Selection":
        """The same with more modules left out.

        Args:
            reasons: canonical name -> why it cannot be compressed.
            targets: as they were matched.
            setting: how the error names the setting.
            instead: in place of the selection's own.

        Raises:
            CompressionError: a target names one of them, by its name or a `re:` pattern, or nothing else is left.
        """
        from compressed_tensors.utils.match import match_name

        for name, reason in reasons.items():
            refusal = f"{setting}: {name} cannot be compressed: {reason}; "
            if len(reasons) == len(self.modules):
                others = f"nor can {len(reasons) - 1} others that targets={list(targets)} matches"
                alone = f"nothing else matches targets={list(targets)}"
                instead = instead or self.instead
                refusal += f"{others if len(reasons) > 1 else alone}, so name other targets"
                raise CompressionError(f"{refusal}: {instead}" if instead else refusal)
            if any(match_name(name, target) for target in targets):
                raise CompressionError(f"{refusal}add '{name}' to {setting}.ignore")
        kept = {name: module for name, module in self.modules.items() if name not in reasons}
        return Selection(modules=kept, left_out={**self.left_out, **reasons}, instead=self.instead)


def match_modules(model: nn.Module, targets: Sequence[str], ignore: Sequence[str], setting: str) -> dict[str, nn.Module]:
    """The modules of `select_modules`, where what was left out does not matter."""
    return select_modules(model, targets, ignore, setting).modules


def select_modules(model: nn.Module, targets: Sequence[str], ignore: Sequence[str], setting: str) -> Selection:
    """The modules that `targets` name and `ignore` does not.

    A module that cannot be compressed is refused where its name was asked for (a module name or a `re:` pattern), and left
    out where only its class was.

    Args:
        model: see `base_modules`.
        targets: class names, module names or `re:` patterns; each must match at least one module.
        ignore: the same syntax; wins over `targets`.
        setting: how the error names the setting, e.g. "pruning".

    Raises:
        CompressionError: a `re:` pattern is not a regular expression, a target matches nothing, everything that matches is
            ignored or left out, or a module that was named cannot be compressed: its weight is computed, or shared with
            another module (tied embeddings), which compressing would change silently.
    """
    from compressed_tensors.utils.match import is_match

    modules = base_modules(model)
    for pattern in (*targets, *ignore):
        _check_pattern(pattern, setting)
    require_matches(model, targets, f"{setting}.targets")
    matched = {name: module for name, module in modules.items() if is_match(name, module, targets, ignore)}
    if not matched:
        raise CompressionError(
            f"{setting}: every module that targets={list(targets)} matches is ignored by ignore={list(ignore)};"
            f" {inventory(modules)}; name other targets, or set ignore to []"
        )
    left_out = {name: reason for name, reason in obstacles(model).items() if name in matched}
    return Selection(modules=matched, left_out={}, instead=inventory(modules)).without(left_out, targets, setting)


def obstacles(model: nn.Module) -> dict[str, str]:
    """The modules whose weight is computed or tied, so that it cannot be compressed: canonical name -> why."""
    modules = base_modules(model)
    owners = collections.defaultdict(list)
    for name, module in modules.items():
        if isinstance(getattr(module, "weight", None), Tensor):
            owners[id(module.weight)].append(name)
    found = dict.fromkeys(copied_modules(model), COPIED)
    for name, module in modules.items():
        tied = [other for other in owners.get(id(getattr(module, "weight", None)), ()) if other != name]
        if reason := _obstacle(module, tied):
            found[name] = reason
    return found


def require_matches(model: nn.Module, targets: Sequence[str], setting: str) -> None:
    """Refuse a target that matches no module.

    Args:
        model: see `base_modules`.
        targets: class names, module names or `re:` patterns.
        setting: how the error names them, e.g. "pruning.targets".

    Raises:
        CompressionError: with what the model has.
    """
    from compressed_tensors.utils.match import is_match

    modules = base_modules(model)
    for target in targets:
        _check_pattern(target, setting.removesuffix(".targets"))
        if not any(is_match(name, module, target) for name, module in modules.items()):
            raise CompressionError(f"{setting}: {target!r} matches no module; {inventory(modules)}")


def _check_pattern(pattern: str, setting: str) -> None:
    try:
        re.compile(pattern.removeprefix("re:") if pattern.startswith("re:") else "")
    except re.error as error:
        raise CompressionError(f"{setting}: {pattern!r} is not a regular expression: {error}") from error


def _obstacle(module: nn.Module, tied: Sequence[str]) -> str:
    """Why a matched module cannot be compressed; empty where it can.

    Args:
        module: with a weight.
        tied: other modules that hold the same weight.
    """
    stored = {name for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))}
    if "weight" not in stored and isinstance(getattr(module, "weight", None), Tensor):
        return "its weight is computed from other parameters (weight norm or another parametrization)"
    if tied:
        return f"its weight is tied to {min(tied)}, so compressing one changes the other"
    return ""


def inventory(modules: Mapping[str, nn.Module]) -> str:
    """What could have been targeted: the classes that hold a weight of two or more dimensions, with their counts."""
    counts = collections.Counter(
        type(module).__name__
        for module in modules.values()
        if isinstance(getattr(module, "weight", None), Tensor) and module.weight.dim() >= 2  # type: ignore[union-attr, operator]
    )
    return "the model has " + (", ".join(f"{name} x{count}" for name, count in sorted(counts.items())) or "no matrices")
