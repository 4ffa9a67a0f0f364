"""What a compressed checkpoint is worth to the program that loads it: memory and speed differ by runtime and machine.

The figures behind the sentences are those of scripts/bench/reload.py.
"""

import torch

_PACKED = (
    "Plain transformers unpacks the weights at the first forward pass: the file is smaller, memory and speed are those"
    "\nof a dense model. Runtimes that compute with packed weights, such as vLLM, need less memory too. Unstructured zeros"
    "\nmake nothing faster by themselves."
)
_ZEROS = "Zeros are stored and multiplied like other weights: by themselves they make nothing smaller or faster."
_NEITHER = "`hf-compress cost` measures how fast it is, and what it takes."


def worth(packed: bool, zeros: bool) -> str:
    """What a result's size says of memory and speed, for reports and cards.

    Args:
        packed: whether it has quantized layers.
        zeros: whether it was pruned.
    """
    return _PACKED if packed else _ZEROS if zeros else _NEITHER


def sixteen_bits_are_slow(dtype: str, device: torch.device) -> bool:
    """True where the processor is known to have no instructions for a 16-bit type, so that fp32 computes faster.

    Args:
        dtype: the stored type's name, e.g. "bfloat16".
        device: where it would be computed.
    """
    instructions = {"bfloat16": ("avx512_bf16", "amx_bf16"), "float16": ("avx512_fp16", "amx_fp16")}.get(dtype)
    if instructions is None or device.type != "cpu":
        return False
    known = _capabilities()
    return known.get("architecture") == "x86_64" and not any(known.get(name) for name in instructions)


def _capabilities() -> dict[str, object]:
    """The processor's instructions as torch knows them; empty where this torch does not tell."""
    return dict(getattr(torch.cpu, "get_capabilities", dict)())


def describe_storage(dtype: str, device: torch.device) -> str:
    """The stored type, with the way out where this machine computes slowly in it."""
    if not sixteen_bits_are_slow(dtype, device):
        return dtype
    return f"{dtype} (slow on this processor, which has no instructions for it: load with dtype=torch.float32)"
