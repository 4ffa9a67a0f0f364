"""Time of an ensemble's forward pass by the way its members are asked, and of a cascade against its account.

    one x M        the floor: one member's forward pass, times the number of members
    sequential     one after the other
    stacked        as one, by torch.func.vmap
    auto           what was the fastest when inputs of this size came first

"devices" needs two accelerators; where the machine has them it is measured too. Weights are fresh: they change no time.
"""

import statistics
import time
from functools import partial
from typing import Any

import _benchmark as bench
import torch
from transformers import BertConfig, BertForSequenceClassification, ViTConfig, ViTForImageClassification

from hf_compress import Cascade, ParallelEnsemble
from hf_compress.ensembling.member_costs import MemberCosts

LENGTH, CLASSES = 32, 3


def bert(width: int = 128, layers: int = 4) -> Any:
    """Fresh weights."""
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=1000,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            num_labels=CLASSES,
        )
    ).eval()


def vit() -> Any:
    """4 layers, 17 places of 64 x 64 pixels, fresh weights."""
    return ViTForImageClassification(
        ViTConfig(
            hidden_size=192,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=3,
            image_size=64,
            patch_size=16,
            num_labels=CLASSES,
        )
    ).eval()


def texts(rows: int) -> dict[str, torch.Tensor]:
    """Whole rows of random tokens."""
    return {"input_ids": torch.randint(1000, (rows, LENGTH)), "attention_mask": torch.ones(rows, LENGTH, dtype=torch.long)}


def pictures(rows: int) -> dict[str, torch.Tensor]:
    """Random pixels."""
    return {"pixel_values": torch.randn(rows, 3, 64, 64)}


MODELS = {"BERT 4 x 128": (bert, texts), "ViT 4 x 192": (vit, pictures)}


def times(model: Any, rounds: int, inputs: dict[str, torch.Tensor]) -> None:
    """A model's forward pass, several times."""
    for _ in range(rounds):
        model(**inputs)


def executions(options: Any) -> list[list[str]]:
    """A row for each model, number of members and batch."""
    rows = []
    for name, (make, batch) in MODELS.items():
        for num_members in options.members:
            members = [make() for _ in range(num_members)]
            ways = ["sequential", "stacked", "auto"]
            made = {way: ParallelEnsemble.from_members([make() for _ in range(num_members)], execution=way) for way in ways}
            if torch.accelerator.is_available() and torch.accelerator.device_count() > 1:
                made["devices"] = ParallelEnsemble.from_members([make() for _ in range(num_members)]).place_members()
            for size in options.batches:
                bench.progress(f"{name}, {num_members} members, batch {size}")
                inputs = batch(size)
                cases = {"one x M": partial(times, members[0], num_members, inputs)}
                cases |= {way: partial(times, one, 1, inputs) for way, one in made.items()}
                seconds = bench.interleaved(cases, options.repeats, warmups=2)
                best = min((way for way in made if way != "auto"), key=lambda way: statistics.median(seconds[way]))
                chosen = list(made["auto"].asking.fastest.values())[-1]
                rows.append(
                    [
                        name,
                        str(num_members),
                        str(size),
                        bench.milliseconds(seconds["sequential"]),
                        bench.ratio(seconds["one x M"], seconds["sequential"]),
                        bench.ratio(seconds["stacked"], seconds["sequential"]),
                        bench.ratio(seconds["devices"], seconds["sequential"]) if "devices" in seconds else "-",
                        bench.ratio(seconds["auto"], seconds["sequential"]),
                        f"{statistics.median(a / b for a, b in zip(seconds['auto'], seconds[best], strict=True)):.2f}x",
                        chosen,
                    ]
                )
    return rows


def cascade_account(options: Any) -> list[list[str]]:
    """Measured ms of a row against the shares of rows times the members' measured ms at the batches that reach them."""
    members = [bert(384, layers) for layers in (1, 3, 6)]
    rows = []
    for size in options.cascade_batches:
        bench.progress(f"cascade, batch {size}")
        batches = [texts(size) for _ in range(max(1, 192 // size))]
        total = size * len(batches)
        with torch.no_grad():
            sure = [
                torch.cat([member(**one).logits.softmax(-1).amax(-1) for one in batches]).median().item()
                for member in members[:2]
            ]
        made = Cascade.from_members(members, thresholds=sure)
        singles = [{key: value[:1] for key, value in one.items()} for one in batches]
        full: list[tuple[float, ...]] = []
        alone: list[tuple[float, ...]] = []
        cases = {"last": partial(through, members[-1], batches), "cascade": partial(through, made, batches)}
        cases["full"] = partial(in_turns, members, batches, full)
        cases["alone"] = partial(in_turns, members, singles, alone)
        seconds = bench.interleaved(cases, options.repeats)
        stages = torch.cat([made(**one, output_stages=True).stages for one in batches])
        shares = [float((stages >= k).double().mean()) for k in range(3)]
        account = []
        for each, single in zip(full[-options.repeats :], alone[-options.repeats :], strict=True):
            costs = MemberCosts(each=each, alone=single, batch_size=size).where_reached(shares)
            account.append(total * sum(share * cost for share, cost in zip(shares, costs, strict=True)))
        rows.append(
            [
                str(size),
                ", ".join(f"{share:.2f}" for share in shares),
                bench.milliseconds([one / total for one in account]),
                bench.milliseconds([one / total for one in seconds["cascade"]]),
                bench.ratio(seconds["cascade"], account),
                bench.ratio(seconds["cascade"], seconds["last"]),
            ]
        )
    return rows


def through(model: Any, batches: list[dict[str, torch.Tensor]]) -> None:
    """All batches."""
    for one in batches:
        model(**one)


def in_turns(members: list[Any], batches: list[dict[str, torch.Tensor]], found: list[tuple[float, ...]]) -> None:
    """Seconds of a row in each member, which take turns at every batch, as the members of a cascade do."""
    spent = [0.0] * len(members)
    for one in batches:
        for k, member in enumerate(members):
            begun = time.perf_counter()
            member(**one)
            spent[k] += time.perf_counter() - begun
    rows = sum(len(one["input_ids"]) for one in batches)
    found.append(tuple(value / rows for value in spent))


def main() -> None:
    """Two tables."""
    parser = bench.parser(__doc__.splitlines()[0], repeats=7)
    parser.add_argument("--members", nargs="+", type=int, default=[2, 4, 8], help="numbers of members")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 64], help="rows of a batch")
    parser.add_argument("--cascade-batches", nargs="+", type=int, default=[1, 8, 64], help="rows of a cascade's batch")
    options = parser.parse_args()
    bench.prepare(options)
    head = bench.header(
        "Ensembles: how members are asked, fp32, forward without gradients", ["hf_compress", "transformers"]
    )
    with torch.no_grad():
        asked, paid = executions(options), cascade_account(options)
    columns = ["model", "members", "batch", "sequential, ms", "one x M (floor)", "stacked", "devices", "auto"]
    bench.emit(
        [
            head,
            f"Median (smallest-largest) of {options.repeats} interleaved rounds; ratios to sequential, inside a round.",
            bench.table([*columns, "auto / best", "auto took"], asked),
            "A cascade of three BERTs (1, 3 and 6 layers of width 384), half of the rows of each stage kept. Account:\n"
            "the shares of rows that reach the members times what a row costs them in batches of that many rows, which\n"
            "follows from their times in turns on whole batches and single rows (MemberCosts.where_reached).",
            bench.table(
                [
                    "batch",
                    "shares asked",
                    "account, ms a row",
                    "measured, ms a row",
                    "measured / account",
                    "of the last alone",
                ],
                paid,
            ),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
