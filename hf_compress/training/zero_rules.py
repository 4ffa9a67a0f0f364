"""What does not go with DeepSpeed's ZeRO."""

from typing import Any

from hf_compress._modules.plain_model import is_adapted
from hf_compress.training.deepspeed import deepspeed_config, zero_stage
from hf_compress.training.rule import Rule
from hf_compress.training.whole_model import is_rebuilt

_OF_WHOLE_TENSORS = ("adafactor", "adalomo", "apollo", "galore", "grokadamw", "lomo", "schedule_free", "stable_adamw")
_OF_SINGLE_NUMBERS = ("adam", "adamw", "adagrad", "lion", "rmsprop", "sgd")


def whole_tensor_optimizer(trainer: Any) -> str | None:
    """The optimizer's name where it cannot be given the flat pieces that ZeRO cuts; None where it can."""
    if not zero_stage(trainer):
        return None
    own = deepspeed_config(trainer).get_value("optimizer.type")
    if own is not None:
        return None if str(own).lower() in _OF_SINGLE_NUMBERS else str(own)
    name = str(getattr(trainer.args.optim, "value", trainer.args.optim))
    return name if name.startswith(_OF_WHOLE_TENSORS) else None


ZERO_RULES: tuple[Rule, ...] = (
    Rule(
        name="pruning + DeepSpeed without ZeRO",
        applies=lambda trainer, compression: compression.pruning is not None and zero_stage(trainer) == 0,
        message="pruning under DeepSpeed without ZeRO (stage 0) is not supported: it hides the weights' masters and"
        " gradients; set zero_optimization.stage to 1, 2 or 3, or train with DDP (accelerate launch --multi_gpu)",
    ),
    Rule(
        name="anything + ZeRO + an optimizer that looks at whole tensors",
        applies=lambda trainer, compression: bool(compression) and bool(whole_tensor_optimizer(trainer)),
        message="ZeRO gives the optimizer flat pieces of weights, and this one computes with whole tensors or keeps other"
        " weights than it shows; set optim to adamw_torch (without an optimizer in DeepSpeed's own configuration)",
    ),
    Rule(
        name="anything + ZeRO-3 + a model that its config does not make",
        applies=lambda trainer, compression: (
            bool(compression)
            and zero_stage(trainer) == 3
            and not is_adapted(trainer.model)
            and not is_rebuilt(trainer.model)
        ),
        message="a model that ZeRO-3 has cut is put together again from its class and its config, and {model} is more than"
        " they make; set zero_optimization.stage to 2",
    ),
)
