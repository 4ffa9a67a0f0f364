"""Which modules of a mixture of experts choose the experts: small, and a compressed one sends tokens elsewhere.

Every technique leaves them dense unless they are named, as quantization libraries and pruning methods for such models do.
"""

import re
from collections.abc import Mapping, Sequence

from torch import nn

from hf_compress._modules.adapters import base_modules

ROUTES = (
    "it is a router, and compressed it would send tokens to other experts; its name in targets compresses it all the same"
)
_ROUTER = re.compile(r"(^|\.)(\w*router\w*(\.|$)|shared_experts?_gate$)")


def routers(model: nn.Module, modules: Mapping[str, nn.Module], targets: Sequence[str]) -> dict[str, str]:
    """The routers among modules that only their class targets: canonical name -> why they stay dense.

    A router is what is called so (`mlp.router.gate`, `router.proj`, `router_gate`), the gate of a shared expert, and a
    `gate`, or a part of one, that has `experts` beside it. A gate of an MLP (`gate_proj`) or of attention is none.

    Args:
        model: all of it.
        modules: the chosen ones by canonical name.
        targets: as they were matched; a name or a `re:` pattern that matches a router asks for it.
    """
    from compressed_tensors.utils.match import match_name

    every = set(base_modules(model))
    return {
        name: ROUTES
        for name in modules
        if (_ROUTER.search(name) or _has_experts_beside(name, every))
        and not any(match_name(name, target) for target in targets)
    }


def _has_experts_beside(name: str, every: set[str]) -> bool:
    parts = name.split(".")
    return any(part == "gate" and ".".join([*parts[:index], "experts"]) in every for index, part in enumerate(parts))
