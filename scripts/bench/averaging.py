"""What one update of a weight average costs.

On a Llama: `EMA` and `SWA` of this library against copying the same bytes (the floor), against the bare kernel
`torch._foreach_lerp_`, and against the peer, torch.optim.swa_utils.AveragedModel with the same multi-tensor function. The
results are compared before they are timed. The last rows are what an evaluation with the average adds: the exchange of
weights, in and out.
"""

import argparse

import _benchmark as bench
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import LlamaConfig, LlamaForCausalLM

from hf_compress.training.averaging.average import Average
from hf_compress.training.averaging.ema import EMA
from hf_compress.training.averaging.swa import SWA

DECAY = 0.999


def build(options: argparse.Namespace) -> LlamaForCausalLM:
    """A Llama with a small vocabulary, so that the layers and not the embeddings decide."""
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=options.hidden,
        intermediate_size=4 * options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=8,
        num_key_value_heads=8,
    )
    return LlamaForCausalLM(config)


class Ours:
    """One of our averages, to be updated again and again."""

    def __init__(self, callback: EMA | SWA, model: LlamaForCausalLM) -> None:
        self.callback, self.model, self.average = callback, model, Average()
        self.update()

    def update(self) -> None:
        """What the callback does at a point."""
        points = self.average.num_points
        self.average.add(self.model, lambda averages, values: self.callback.move(averages, values, points))

    def exchange(self) -> None:
        """What the callback does around an evaluation."""
        with self.average.inside(self.model):
            pass


def main() -> None:
    """Both tables."""
    parser = bench.parser(__doc__.splitlines()[0], repeats=9)
    parser.add_argument("--hidden", type=int, default=512, help="hidden_size of the Llama")
    parser.add_argument("--layers", type=int, default=8, help="num_hidden_layers of the Llama")
    options = parser.parse_args()
    bench.prepare(options)
    head = bench.header("One update of a weight average", ["hf_compress", "transformers"])
    model = build(options)
    half = build(options).bfloat16()
    values = [parameter.detach() for parameter in model.parameters()]
    copies, lerped = ([value.clone() for value in values] for _ in range(2))
    ema, swa, mixed = Ours(EMA(decay=DECAY, warmup=False), model), Ours(SWA(), model), Ours(EMA(decay=DECAY), half)
    peer = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    peer.update_parameters(model)
    with torch.no_grad():
        for value in values:
            value.mul_(1.01)
    ema.update()
    peer.update_parameters(model)
    for ours, theirs in zip(ema.average.tensors.values(), peer.module.parameters(), strict=True):
        if not torch.equal(ours, theirs):
            raise SystemExit("our average and AveragedModel's differ")
    floor, kernel = "copy the same bytes (floor)", "torch._foreach_lerp_"
    cases = {
        floor: lambda: torch._foreach_copy_(copies, values),
        kernel: lambda: torch._foreach_lerp_(lerped, values, 1 - DECAY),
        "AveragedModel (peer)": lambda: peer.update_parameters(model),
        "EMA": ema.update,
        "SWA": swa.update,
        "EMA in fp32 of bf16 weights": mixed.update,
        "exchange for an evaluation": ema.exchange,
    }
    seconds = bench.interleaved(cases, options.repeats, warmups=2)
    against = (floor, kernel, "AveragedModel (peer)")
    rows = [
        [name, bench.milliseconds(seconds[name]), *(bench.ratio(seconds[name], seconds[other]) for other in against)]
        for name in cases
    ]
    size = sum(value.numel() for value in values)
    bench.emit(
        [
            head,
            f"Median (smallest-largest) of {options.repeats} interleaved rounds; ratios are taken inside a round.",
            f"{size / 1e6:.1f} M parameters in {len(values)} tensors, fp32 unless it says otherwise; our EMA and the"
            " peer's are equal bit for bit.",
            bench.table(["case", "ms", *(f"vs {name}" for name in against)], rows),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
