"""What mergekit 0.1.5 knows of each method: its parameters, their defaults, how many models it takes, what the base is."""

from dataclasses import dataclass, field
from typing import Any, Literal

REQUIRED = object()
"""The default of a parameter that must be given."""

SWITCHES = ("normalize", "rescale", "int8_mask", "nuslerp_row_wise", "nuslerp_flatten", "normalize_weights", "filter_wise")
"""Parameters that are true or false."""
WHOLE = ("max_iter",)
"""Parameters that are whole numbers."""
OUR_NAMES = {"lambda": "scale", "normalize_weights": "normalize"}
"""What our methods call a parameter, where that differs."""


@dataclass(frozen=True, kw_only=True)
class MergekitMethod:
    """One method.

    Attributes:
        base: "input": base_model is merged like every other model (and added to them where it is not listed);
            "optional", "required": what the others are compared with.
        inputs: least and most models, the base included; None = any number.
        others: the same without the base.
        shared: parameters of the whole merge, with their defaults.
        own: parameters of each model except a base that is no input, with their defaults.
        idle: parameters that are taken and change no number: int8_mask saves memory, task arithmetic drops nothing that
            a density or a rescaling could be about.
    """

    base: Literal["input", "optional", "required"]
    inputs: tuple[int, int | None] = (1, None)
    others: tuple[int, int | None] = (0, None)
    shared: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)
    idle: tuple[str, ...] = ()


def _task_vectors(normalize: bool, rescale: bool, **own: float) -> MergekitMethod:
    """The family that adds up differences to the base."""
    return MergekitMethod(
        base="required",
        shared={"normalize": normalize, "rescale": rescale, "lambda": 1.0},
        own={"weight": REQUIRED, "density": 1.0, **own},
        idle=("int8_mask",),
    )


METHODS: dict[str, MergekitMethod] = {
    "linear": MergekitMethod(base="input", shared={"normalize": True}, own={"weight": REQUIRED}),
    "slerp": MergekitMethod(base="required", inputs=(2, 2), shared={"t": REQUIRED}),
    "nuslerp": MergekitMethod(
        base="optional",
        others=(2, 2),
        shared={"nuslerp_row_wise": False, "nuslerp_flatten": True},
        own={"weight": REQUIRED},
    ),
    "multislerp": MergekitMethod(
        base="optional", others=(1, None), shared={"normalize_weights": True, "eps": 1e-8}, own={"weight": REQUIRED}
    ),
    "karcher": MergekitMethod(base="input", shared={"max_iter": 10, "tol": 1e-5}),
    "task_arithmetic": MergekitMethod(
        base="required",
        shared={"normalize": False, "lambda": 1.0},
        own={"weight": REQUIRED},
        idle=("int8_mask", "rescale", "density"),
    ),
    "ties": _task_vectors(normalize=True, rescale=False),
    "dare_linear": _task_vectors(normalize=False, rescale=True),
    "dare_ties": _task_vectors(normalize=False, rescale=True),
    "della": _task_vectors(normalize=True, rescale=True, epsilon=0.15),
    "della_linear": _task_vectors(normalize=False, rescale=True, epsilon=0.15),
    "breadcrumbs": _task_vectors(normalize=False, rescale=False, gamma=0.01),
    "breadcrumbs_ties": _task_vectors(normalize=False, rescale=False, gamma=0.01),
    "model_stock": MergekitMethod(base="required", inputs=(3, None), shared={"filter_wise": False}),
    "sce": MergekitMethod(base="required", shared={"select_topk": 1.0}, idle=("int8_mask",)),
    "arcee_fusion": MergekitMethod(base="required", inputs=(2, 2), idle=("int8_mask", "normalize", "rescale")),
    "nearswap": MergekitMethod(base="required", inputs=(2, 2), shared={"t": REQUIRED}),
    "passthrough": MergekitMethod(base="input", inputs=(1, 1), own={"scale": None}),
}
"""By mergekit's name; ours are the same."""

PARAMETERS = sorted({name for method in METHODS.values() for name in (*method.shared, *method.own, *method.idle)})
"""Every parameter any method has."""
