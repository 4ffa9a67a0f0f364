"""A copy of a model that shares nothing with it, also where its forward was replaced on the instance."""

import copy
import functools
import types
from collections.abc import Iterator
from typing import Any

from torch import nn

from hf_compress import _distributed
from hf_compress._errors import CompressionError, reason_of


def frozen_copy(student: nn.Module) -> nn.Module:
    """The student as it is: own weights, own buffers, the forward of its classes.

    Libraries replace `forward` on an instance (TRL's fused head, `model.forward = torch.compile(model.forward)`) with a
    function that holds the original bound method. Copying takes functions as they are, so the copy would run the original's
    weights. The copy therefore goes without: accelerate's hooks and every `forward` of an instance are dropped.

    A process that waits for the first one's weights copies the student without them.

    Raises:
        CompressionError: something else on the model leads back to it, its weights are not in memory, or it has something
            that cannot be copied.
    """
    from accelerate.hooks import remove_hook_from_submodules

    student = getattr(student, "_orig_mod", student)  # type: ignore[assignment]
    absent = [name for name, weight in student.named_parameters() if weight.is_meta]
    if absent and _distributed.is_main():
        raise CompressionError(
            f"the default teacher copies the student, and its {absent[0]} is not in memory (offloaded); name a teacher"
        )
    try:
        copied = copy.deepcopy(student)
    except Exception as error:  # whatever hangs on the model refuses in its own way
        raise CompressionError(
            f"the student cannot be copied to be its own teacher ({reason_of(error)}); name a teacher"
        ) from error
    remove_hook_from_submodules(copied)
    originals = {id(module): name for name, module in student.named_modules()}
    for name, module in copied.named_modules():
        replaced = vars(module).pop("forward", None)
        if replaced is not None and type(module).forward is nn.Module.forward:
            raise CompressionError(
                f"the forward of {name or 'the student'} is a function on the instance, so a copy would run the student's"
                " own weights; name a teacher"
            )
        for attribute, value in _functions(module):
            if _leads_to(value, originals):
                raise CompressionError(
                    f"{attribute} of {name or 'the student'} leads back to the student, so a copy would not be independent"
                    " of it; remove it before the trainer is made, or name a teacher"
                )
    return copied


def _functions(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What a call of the module may run beside its class: functions on the instance, and hooks."""
    for attribute, value in vars(module).items():
        if attribute in ("_forward_hooks", "_forward_pre_hooks"):
            yield from ((attribute.strip("_").replace("_", " "), hook) for hook in value.values())
        elif not attribute.startswith("__") and isinstance(value, _FUNCTIONS):
            yield attribute, value


_FUNCTIONS = types.FunctionType, types.MethodType, functools.partial


def _leads_to(value: Any, modules: dict[int, str], depth: int = 4) -> bool:
    """Whether a function, through what it is bound to or closes over, holds one of the modules."""
    if id(value) in modules:
        return True
    if depth == 0:
        return False
    held: list[Any] = []
    if isinstance(value, types.MethodType):
        held = [value.__self__, value.__func__]
    elif isinstance(value, functools.partial):
        held = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, types.FunctionType):
        held = [getattr(value, "__wrapped__", None), *(_content(cell) for cell in value.__closure__ or ())]
    elif isinstance(value, list | tuple):
        held = list(value)
    return any(_leads_to(one, modules, depth - 1) for one in held)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return None
