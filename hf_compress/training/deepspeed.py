"""What a Trainer was told about DeepSpeed."""

from typing import Any


def deepspeed_config(trainer: Any) -> Any:
    """DeepSpeed's configuration as transformers holds it; None without DeepSpeed.

    That of the arguments comes first: accelerate's state is the last Trainer's of the process.
    """
    state = getattr(getattr(trainer, "accelerator", None), "state", None)
    plugin = getattr(trainer.args, "deepspeed_plugin", None) or getattr(state, "deepspeed_plugin", None)
    return None if plugin is None else plugin.hf_ds_config


def zero_stage(trainer: Any) -> int | None:
    """ZeRO's stage, 0 where DeepSpeed shards nothing; None without DeepSpeed."""
    config = deepspeed_config(trainer)
    return None if config is None else int(config.config.get("zero_optimization", {}).get("stage", 0))
