"""What a compressed checkpoint costs once plain transformers has loaded it: bytes in memory, and time per forward pass.

    float32           the floor for CPUs without 16-bit instructions
    bfloat16          the dense checkpoint as exports store it by default
    W4A16, ...        compressed checkpoints: on disk, loaded, and after the first forward pass

Plain transformers unpacks quantized weights at the first forward pass and computes with dense ones: what is smaller is the
file. Memory and time are those of the dense model in the stored type. The model has MiniLM's shape and random weights.
"""

import tempfile
from pathlib import Path

import _benchmark as bench
import torch
from torch import nn
from transformers import AutoModel, BertConfig, BertModel

from hf_compress import Quantization, quantize, save_compressed, save_dense

SCHEMES = ("W4A16", "W8A16", "W8A8", "FP8_DYNAMIC")


def config() -> BertConfig:
    """MiniLM-L6: 22.7 M parameters."""
    return BertConfig(
        vocab_size=30522,
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=6,
        num_attention_heads=12,
        pad_token_id=0,
    )


def bytes_in_memory(model: nn.Module) -> int:
    """Parameters and buffers, each storage once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def write_all(folder: Path) -> list[str]:
    """Every checkpoint of the comparison; their names in order."""
    for name in ("float32", "bfloat16"):
        torch.manual_seed(0)
        save_dense(BertModel(config()), folder / name, dtype=name)
    for scheme in SCHEMES:
        torch.manual_seed(0)
        model = BertModel(config()).to(torch.bfloat16)
        quantize(model, Quantization(scheme=scheme))
        save_compressed(model, folder / scheme)
    return ["float32", "bfloat16", *SCHEMES]


def main() -> None:
    options = bench.parser(__doc__.splitlines()[0], repeats=9)
    options.add_argument("--batch", type=int, default=8, help="sequences in a forward pass")
    options.add_argument("--length", type=int, default=64, help="tokens in a sequence")
    arguments = options.parse_args()
    bench.prepare(arguments)
    head = bench.header(
        f"reloaded checkpoints, {arguments.batch} x {arguments.length} tokens", ["transformers", "compressed-tensors"]
    )
    ids = torch.randint(5, 30000, (arguments.batch, arguments.length))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        names = write_all(folder)
        models, sizes = {}, {}
        for name in names:
            bench.progress(name)
            model = AutoModel.from_pretrained(folder / name).eval()
            loaded = bytes_in_memory(model)
            with torch.inference_mode():
                model(input_ids=ids)
            disk = sum(file.stat().st_size for file in (folder / name).glob("*.safetensors"))
            models[name], sizes[name] = model, (disk, loaded, bytes_in_memory(model))

        def forward(name: str) -> None:
            with torch.inference_mode():
                models[name](input_ids=ids)

        seconds = bench.interleaved({name: (lambda name=name: forward(name)) for name in names}, arguments.repeats)
    rows = [
        [
            name,
            *(f"{value / 1e6:.1f}" for value in sizes[name]),
            bench.milliseconds(seconds[name]),
            bench.ratio(seconds[name], seconds["float32"]),
        ]
        for name in names
    ]
    columns = ["checkpoint", "MB on disk", "MB loaded", "MB after a forward", "ms per forward", "vs float32"]
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    fast = [name for name in ("avx512_bf16", "amx_bf16") if capabilities.get(name)]
    note = f"16-bit instructions of this CPU: {', '.join(fast) or 'none'}"
    bench.emit([head, note, bench.table(columns, rows)], arguments.out)


if __name__ == "__main__":
    main()
