"""One block pruned by llm-compressor, as `pruning.py --peer PYTHON` runs it in an environment of its own; prints JSON."""

import json
import resource
import sys
import tempfile
import time
from typing import Any

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def main() -> None:
    """Arguments: which of the ways, the config as JSON, threads."""
    name, _, pattern = sys.argv[1].removeprefix("llm-compressor ").partition(" ")
    torch.set_num_threads(int(sys.argv[3]))
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**json.loads(sys.argv[2]))).eval()
    rows = torch.randint(512, (32, 256)).tolist()
    kind = {"SparseGPT": SparseGPTModifier, "Wanda": WandaPruningModifier}[name]
    masks = "2:4" if pattern == "2:4" else "0:0"
    vocabulary = Tokenizer(models.WordLevel({str(number): number for number in range(512)}, unk_token="0"))
    processor = PreTrainedTokenizerFast(tokenizer_object=vocabulary, pad_token="0")
    with tempfile.TemporaryDirectory() as folder:  # it looks where the model came from
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        prune(model, processor, rows, kind(sparsity=0.5, mask_structure=masks, targets=["Linear"], ignore=["lm_head"]))


def prune(model: Any, processor: Any, rows: list[list[int]], modifier: Any) -> None:
    """Measure one modifier, its statistics included."""
    data = Dataset.from_list([{"input_ids": row, "attention_mask": [1] * 256} for row in rows])
    layers = [module for key, module in model.named_modules() if isinstance(module, torch.nn.Linear) and key != "lm_head"]
    model(input_ids=torch.tensor(rows[:4]))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    oneshot(
        model=model,
        processor=processor,
        dataset=data,
        recipe=[modifier],
        num_calibration_samples=32,
        max_seq_length=256,
        batch_size=4,
    )
    cpu_s = time.process_time() - began
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    weights = sum(layer.weight.numel() for layer in layers)
    zeros = sum(int((layer.weight == 0).sum()) for layer in layers)
    print(json.dumps({"weights": weights, "cpu_s": cpu_s, "extra_bytes": extra, "sparsity": zeros / weights}))


if __name__ == "__main__":
    main()
