"""What masks cost inside a training step, and what selecting the weights to prune costs.

First table, on a small Llama with AdamW: everything the pruning callback does, as a share of one optimizer step (the floor)
and of a whole step (forward, backward, optimizer). Masks are applied in every step; they are updated in every `every`-th.

Second table, per layer size: `keep_largest` against a full stable sort (the plain way to the same mask, ties included) and
against the peer, torch.nn.utils.prune.L1Unstructured.
"""

import argparse
from functools import partial

import _benchmark as bench
import torch
from torch import Tensor
from torch.nn.utils.prune import L1Unstructured
from transformers import LlamaConfig, LlamaForCausalLM

from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.pattern import keep_largest
from hf_compress.pruning.patterns.n_m import NM
from hf_compress.pruning.schedules.cubic import Cubic


def build(hidden: int, layers: int) -> LlamaForCausalLM:
    """A Llama with a small vocabulary, so that the layers and not the embeddings decide."""
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
    )
    return LlamaForCausalLM(config)


def sorted_mask(score: Tensor, num_pruned: int) -> Tensor:
    """The reference: of equal scores, the higher index goes first."""
    order = score.reshape(-1).argsort(descending=True, stable=True)
    keep = torch.ones(score.numel(), dtype=torch.bool)
    keep[order[score.numel() - num_pruned :]] = False
    return keep.view_as(score)


class Training:
    """A model with its optimizer and one batch, to be stepped."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.model = build(options.hidden, options.layers)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.tokens = torch.randint(1024, (options.batch, options.tokens))
        self.step()  # gradients and moments exist from here on

    def step(self) -> None:
        """Forward, backward, optimizer."""
        self.optimizer.zero_grad()
        self.model(input_ids=self.tokens, labels=self.tokens).loss.backward()
        self.optimizer.step()


def step_rows(options: argparse.Namespace) -> tuple[str, list[list[str]]]:
    """The first table's caption and rows."""
    plain, pruned = Training(options), Training(options)
    masks = Masks(pruned.model, Pruning(schedule=Cubic(final=0.5)))
    pattern = Masks(pruned.model, Pruning(pattern=NM(n=2, m=4), schedule=Cubic(final=0.5)))
    masks.update(0.5)
    masks.apply()
    masks.apply_to_gradients()
    masks.apply_to_optimizer(pruned.optimizer)
    cases = {
        "optimizer.step (AdamW)": plain.optimizer.step,
        "forward + backward + optimizer.step": plain.step,
        "every step: optimizer.step on pruned weights": pruned.optimizer.step,
        "every step: masks.apply": masks.apply,
        "every step: masks.apply_to_gradients": masks.apply_to_gradients,
        "at an update: masks.update, unstructured": partial(masks.update, 0.5),
        "at an update: masks.update, 2:4": partial(pattern.update, 0.5),
        "at an update: masks.apply_to_optimizer": partial(masks.apply_to_optimizer, pruned.optimizer),
    }
    seconds = bench.interleaved(cases, options.repeats, warmups=2)
    floor, whole = seconds["optimizer.step (AdamW)"], seconds["forward + backward + optimizer.step"]
    rows = [
        [name, bench.milliseconds(seconds[name]), bench.ratio(seconds[name], floor), bench.ratio(seconds[name], whole)]
        for name in cases
    ]
    return (
        f"{masks.num_weights() / 1e6:.1f} M prunable weights in {len(masks.modules)} layers,"
        f" {options.batch} x {options.tokens} tokens",
        rows,
    )


def selection_rows(options: argparse.Namespace) -> list[list[str]]:
    """The second table's rows."""
    rows = []
    for shape in options.shapes:
        bench.progress(f"selection, {shape}")
        out, width = map(int, shape.split("x"))
        weight = torch.randn(out, width)
        half = weight.numel() // 2
        peer = L1Unstructured(amount=half)
        ones = torch.ones_like(weight)
        if not torch.equal(keep_largest(weight.abs(), half), sorted_mask(weight.abs(), half)):
            raise SystemExit("keep_largest and the stable sort differ")
        cases = {
            "keep_largest": lambda weight=weight, half=half: keep_largest(weight.abs(), half),
            "full stable sort": lambda weight=weight, half=half: sorted_mask(weight.abs(), half),
            "torch L1Unstructured": lambda weight=weight, peer=peer, ones=ones: peer.compute_mask(weight, ones),
        }
        seconds = bench.interleaved(cases, options.repeats)
        for name in cases:
            rows.append(
                [
                    f"{out} x {width}",
                    name,
                    bench.milliseconds(seconds[name]),
                    bench.ratio(seconds[name], seconds["full stable sort"]),
                    bench.ratio(seconds[name], seconds["torch L1Unstructured"]),
                ]
            )
    return rows


def main() -> None:
    """Both tables."""
    parser = bench.parser(__doc__.splitlines()[0], repeats=9)
    parser.add_argument("--hidden", type=int, default=512, help="hidden_size of the Llama")
    parser.add_argument("--layers", type=int, default=4, help="num_hidden_layers of the Llama")
    parser.add_argument("--batch", type=int, default=4, help="sequences")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a sequence")
    parser.add_argument(
        "--shapes", nargs="+", default=["512x512", "1024x1024", "4096x1024"], metavar="OUTxIN", help="layers to select from"
    )
    options = parser.parse_args()
    bench.prepare(options)
    head = bench.header("Pruning inside a training step", ["hf_compress", "transformers"])
    bench.progress("masks in a step")
    caption, rows = step_rows(options)
    bench.emit(
        [
            head,
            f"Median (smallest-largest) of {options.repeats} interleaved rounds; ratios are taken inside a round.",
            f"Masks: {caption}",
            bench.table(["case", "ms", "vs optimizer.step (floor)", "vs whole step"], rows),
            "Selection: mask of 50 % of one layer, scores included",
            bench.table(
                ["layer", "case", "ms", "vs full stable sort (floor)", "vs torch L1Unstructured (peer)"],
                selection_rows(options),
            ),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
