"""Which factors in an adapter's file belong to parameters and not to modules."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


WRAPPED = ".base_layer"
"""What PEFT writes behind the module's name once for each parameter that it wrapped before."""


def is_parameters(module: str, num_rows: int, rank: int, targets: list[str]) -> bool:
    """Whether factors found under a module's name are of parameters in it.

    Args:
        module: the name in the adapter's file.
        num_rows: of A.
        rank: that the config gives to modules.
        targets: its target_parameters.
    """
    plain = without_wrappers(module)
    for target in targets:
        owner = target.rpartition(".")[0]
        if owner and (plain == owner or plain.endswith(f".{owner}")):
            return True
    return any("." not in target for target in targets) and (plain != module or num_rows != rank)


def without_wrappers(module: str) -> str:
    """The module's name without the parts that PEFT writes behind it."""
    while module.endswith(WRAPPED):
        module = module.removesuffix(WRAPPED)
    return module
