"""Time of one fake-quantized linear layer, forward and backward, against nn.Linear and torchao's QAT.

    nn.Linear          the floor: training without quantization
    hf_compress        FakeQuantizedLinear, whose forward equals the exported checkpoint
    torchao            the peer: torchao.quantization.qat.FakeQuantizedLinear with the nearest configuration

torchao is optional (pip install "hf-compress[torchao]"); without it the peer's rows are missing. Its int8 activations are
asymmetric per token, those of W8A8 symmetric, so that row compares cost, not numbers.
"""

from collections.abc import Callable
from functools import partial

import _benchmark as bench
import torch
from torch import Tensor, nn

from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.qat import prepare


def ours(linear: nn.Linear, scheme: str) -> nn.Module:
    """A copy as QAT trains it."""
    model = nn.Sequential(linear)
    prepare(model, Quantization(scheme=scheme, ignore=()))
    return model


def torchao_linear(linear: nn.Linear, scheme: str) -> nn.Module | None:
    """A copy as torchao trains it, or None without torchao."""
    try:
        from torchao.quantization.qat import FakeQuantizedLinear, IntxFakeQuantizeConfig
    except ImportError:
        return None
    activations = None
    if scheme == "W4A16":
        weights = IntxFakeQuantizeConfig(torch.int4, group_size=128, is_symmetric=True)
    else:
        weights = IntxFakeQuantizeConfig(torch.int8, "per_channel", is_symmetric=True)
        activations = IntxFakeQuantizeConfig(torch.int8, "per_token", is_symmetric=False)
    return FakeQuantizedLinear.from_linear(linear, activation_config=activations, weight_config=weights)


def copy_of(linear: nn.Linear) -> nn.Linear:
    """The same weights in a module of its own."""
    other = nn.Linear(linear.in_features, linear.out_features, bias=False)
    other.load_state_dict(linear.state_dict())
    return other


def step(module: nn.Module, inputs: Tensor, gradient: Tensor) -> None:
    """Forward and backward; both the weight and the input get a gradient."""
    module.zero_grad(set_to_none=True)
    inputs.grad = None
    module(inputs).backward(gradient)


def variants(linear: nn.Linear, scheme: str) -> dict[str, nn.Module]:
    """What is compared, floor first."""
    made = {"nn.Linear": copy_of(linear), "hf_compress": ours(copy_of(linear), scheme)}
    peer = torchao_linear(copy_of(linear), scheme)
    return made if peer is None else {**made, "torchao": peer}


def difference(modules: dict[str, nn.Module], inputs: Tensor) -> str:
    """Largest difference of the outputs of ours and the peer, relative to the largest output."""
    if "torchao" not in modules:
        return "torchao is not installed"
    with torch.no_grad():
        a, b = modules["hf_compress"](inputs), modules["torchao"](inputs)
    return f"{((a - b).abs().max() / a.abs().max()).item():.1e}"


def main() -> None:
    """One table for all schemes and shapes."""
    parser = bench.parser(__doc__.splitlines()[0], repeats=9)
    parser.add_argument(
        "--shapes",
        nargs="+",
        default=["512x1024x1024", "2048x1024x1024", "512x1024x4096"],
        metavar="TOKENSxINxOUT",
        help="rows of the input, in_features, out_features",
    )
    parser.add_argument("--schemes", nargs="+", choices=["W4A16", "W8A8"], default=["W4A16", "W8A8"], help="schemes")
    options = parser.parse_args()
    bench.prepare(options)
    head = bench.header("QAT linear layer, fp32, forward + backward", ["hf_compress", "compressed-tensors", "torchao"])
    rows = []
    for scheme in options.schemes:
        for shape in options.shapes:
            bench.progress(f"{scheme}, {shape}")
            tokens, width, out = map(int, shape.split("x"))
            linear = nn.Linear(width, out, bias=False)
            inputs, gradient = torch.randn(tokens, width, requires_grad=True), torch.randn(tokens, out)
            modules = variants(linear, scheme)
            cases: dict[str, Callable[[], None]] = {
                name: partial(step, module, inputs, gradient) for name, module in modules.items()
            }
            seconds = bench.interleaved(cases, options.repeats, warmups=2)
            for name in cases:
                rows.append(
                    [
                        scheme,
                        f"{tokens} x {width} -> {out}",
                        name,
                        bench.milliseconds(seconds[name]),
                        bench.ratio(seconds[name], seconds["nn.Linear"]),
                        bench.ratio(seconds[name], seconds["torchao"]) if "torchao" in seconds else "-",
                        difference(modules, inputs.detach()) if name == "torchao" else "",
                    ]
                )
    bench.emit(
        [
            head,
            f"Median (smallest-largest) of {options.repeats} interleaved rounds; ratios are taken inside a round.\n"
            "Difference: largest |output of torchao - output of hf_compress| over the largest output.",
            bench.table(
                ["scheme", "tokens x in -> out", "case", "ms", "vs nn.Linear (floor)", "vs torchao (peer)", "difference"],
                rows,
            ),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
