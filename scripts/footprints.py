"""The table of docs/scaling.md: what compressing a Llama of 1, 8 or 70 billion weights takes in each process.

    python scripts/footprints.py

Nothing is loaded: the sizes are those of configs, and the sums those of `hf-compress check --world-size`.
"""

import copy

import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from hf_compress import Cubic, Distillation, ModelTeacher, Pruning, Quantization
from hf_compress.training.compression import Compression
from hf_compress.training.footprint import WAYS, communication, footprint, sizes_of

SHAPES = {
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "tie_word_embeddings": True},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    "70B": {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64},
}
"""Those of Llama 3."""
PROCESSES = {"1B": 8, "8B": 8, "70B": 64}
PRUNING = {"pruning": Pruning(schedule=Cubic(final=0.5))}
ROUNDING = {"quantization": Quantization(scheme="W4A16")}
DISTILLATION = {"distillation": Distillation(teacher=ModelTeacher(model="a copy in bf16"))}
CASES = {
    "nothing": {},
    "pruning": PRUNING,
    "QAT": ROUNDING,
    "distillation": DISTILLATION,
    "all three": PRUNING | ROUNDING | DISTILLATION,
    "all three, activation checkpointing": PRUNING | ROUNDING | DISTILLATION,
    "all three, activation checkpointing, teacher sharded": PRUNING | ROUNDING | DISTILLATION,
}


def lines() -> list[str]:
    """Markdown; gigabytes at the peak, and sent in a step."""
    args = TrainingArguments(output_dir="unused", bf16=True, use_cpu=True, report_to="none")
    again = copy.copy(args)
    again.activation_checkpointing = True
    found = [
        f"| model, processes | techniques | {' | '.join(way.name for way in WAYS)} |",
        f"|---|---|{'--:|' * len(WAYS)}",
    ]
    for name, shape in SHAPES.items():
        with torch.device("meta"):
            model = LlamaForCausalLM(LlamaConfig(vocab_size=128256, num_key_value_heads=8, **shape))
        processes = PROCESSES[name]
        number = sum(parameter.numel() for parameter in model.parameters())
        for case, techniques in CASES.items():
            settings = again if "checkpointing" in case else args
            teacher = 2 * number if "distillation" in techniques else 0
            sizes = sizes_of(model, Compression(**techniques), settings, teacher, "teacher sharded" in case)
            peaks = [footprint(sizes, way, processes)["peak"] for way in WAYS]
            found.append(f"| {name}, {processes} | {case} | {' | '.join(f'{peak / 1e9:.1f}' for peak in peaks)} |")
        sent = [communication(sizes, way, processes) for way in WAYS]
        found.append(f"| {name}, {processes} | *sent in a step* | {' | '.join(f'{each / 1e9:.1f}' for each in sent)} |")
    return found


if __name__ == "__main__":
    print("\n".join(lines()))
