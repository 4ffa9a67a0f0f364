"""What becomes of every architecture of transformers under every scheme: exact, left dense and named, refused, or failed.

For each class of the Auto mappings (text, images, sound) a tiny model is built on the CPU, prepared, trained for two steps,
converted, written, loaded back by `from_pretrained` of plain transformers and compared with its own training forward:

    exact      all logits are equal (0.0), no tensor missing or unexpected
    named      the same, and modules that a class name targets, or packed experts, were left dense and said so
    refused    one sentence before training: of the constructor and `check`, or of the rehearsed export with which a run
               of a recipe begins ("rehearsal:")
    failed     anything else: an exception, another result, tensors missing, most of the weights left dense in silence

    python scripts/sweep_architectures.py run after.jsonl          # resumes; one line per architecture
    python scripts/sweep_architectures.py table before.jsonl after.jsonl > table.md

`run` measures the package that is importable, so an older one is measured with PYTHONPATH.
"""

import argparse
import collections
import contextlib
import copy
import datetime
import importlib.metadata
import importlib.util
import json
import logging
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
import transformers
from _tiny_models import CannotBuildError, architectures, build, reason

from hf_compress import Quantization, save_compressed
from hf_compress._errors import CompressionError
from hf_compress._modules.types import cast_weights
from hf_compress.quantization import qat
from hf_compress.quantization.scheme import Scheme

try:
    from hf_compress.quantization.reach import left_dense
except ImportError:
    left_dense = getattr(qat, "left_dense", None)
try:
    from hf_compress.quantization.storage_type import check_storage_type
except ImportError:  # older packages are measured too
    check_storage_type = None

CELLS = [*((scheme, "float32") for scheme in ("W4A16", "W8A16", "W4A8", "FP8_DYNAMIC")), ("W8A8", "bfloat16")]
"""Each scheme once; the one without groups in the default type of an export."""
FEW = [("W4A16", "float32"), ("W8A8", "bfloat16")]
"""For a further head on an architecture that another row measures in full."""

ORDER = ("exact", "named", "refused", "failed")
SECONDS = 120
"""A cell that takes longer has failed."""


def _own(name: str) -> Any:
    """A module of this checkout by its file, so that older packages are measured with the same probe."""
    file = Path(__file__).parents[1] / "hf_compress" / f"{name}.py"
    name = name.replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None, file
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


probe_inputs = _own("_forward/probe").probe_inputs
coverage = _own("_modules/coverage").coverage


class TooLongError(Exception):
    pass


@contextlib.contextmanager
def _limit(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooLongError(f"more than {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def forward(model: Any) -> torch.Tensor:
    """Logits of the probe batch, as training and evaluation see them."""
    for rows in (2, 1):
        batch = probe_inputs(model, rows)
        if batch is None:
            raise CannotBuildError("no probe batch can be made from the config")
        if hasattr(model.config, "use_cache"):
            batch["use_cache"] = False
        try:
            logits: torch.Tensor = model(**batch).logits
            return logits
        except ValueError:
            if rows == 1:
                raise
    raise AssertionError


def runs(model: Any) -> None:
    """Raises where the tiny model computes nothing that could be compared."""
    with torch.no_grad():
        logits = forward(model)
    if not torch.isfinite(logits).all() or not logits.numel():
        raise CannotBuildError("the tiny model's logits are not finite")


def computes(model: Any) -> bool:
    """Whether weights, buffers and logits are all numbers."""
    if not all(tensor.isfinite().all() for tensor in model.state_dict().values()):
        return False
    with torch.no_grad():
        return bool(forward(model).isfinite().all())


def stored(model: Any) -> Any:
    """The model as a user has it: written and loaded, which is when some architectures rename their tensors."""
    with tempfile.TemporaryDirectory() as place, contextlib.suppress(Exception):
        model.save_pretrained(place)
        loaded, info = type(model).from_pretrained(place, output_loading_info=True)
        if not info["missing_keys"]:
            return loaded.float().eval()
    return model


def scheme_of(name: str) -> Scheme:
    """The scheme, with groups that fit tiny layers where it has groups."""
    return Scheme.create(name).finest()


def cell(dense: Any, scheme: str, dtype: str) -> tuple[str, str]:
    """Outcome and detail of one scheme stored in one type."""
    outcome, detail = trained(dense, scheme, dtype)
    if outcome == "failed":
        refusal = rehearsal(dense, scheme, dtype)
        if refusal:
            return "refused", f"rehearsal: {refusal}"
    return outcome, detail


def rehearsal(dense: Any, scheme: str, dtype: str) -> str:
    """What a run says of its untrained model before the first step, where it refuses it; empty otherwise."""
    model = copy.deepcopy(dense)
    with tempfile.TemporaryDirectory() as place:
        try:
            qat.prepare(model, Quantization(scheme=scheme_of(scheme)))
            cast_weights(model, dtype)
            qat.convert(model)
            save_compressed(model, Path(place) / "model")
        except CompressionError as error:
            return str(error).replace(place, "...")
        except Exception:  # no sentence: a failure
            return ""
    return ""


def trained(dense: Any, scheme: str, dtype: str) -> tuple[str, str]:
    """The same without the rehearsal."""
    model = copy.deepcopy(dense)
    quantization = Quantization(scheme=scheme_of(scheme))
    try:
        prepared = qat.prepare(model, quantization)
    except CompressionError as error:
        return "refused", str(error)
    named = {} if left_dense is None else dict(left_dense(model))
    reach = coverage(model, prepared)
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    with contextlib.suppress(RuntimeError, NotImplementedError, ValueError):  # some tiny models have no backward pass
        for _ in range(2):
            model.train()
            forward(model).float().square().mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # as the Trainer does
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    if not computes(model):  # random weights may diverge, and so may batch norms' averages of them
        model.load_state_dict(dense.state_dict())
    try:
        if check_storage_type is not None:
            check_storage_type(model, quantization, dtype)
        cast_weights(model, dtype)
    except CompressionError as error:
        return "refused", str(error)
    try:
        model.requires_grad_(False)  # torch adds up some products in another order where a weight asks for a gradient
        with torch.no_grad():
            expected = forward(model)
    except Exception as error:
        return "failed", f"the model does not run in {dtype}: {reason(error)}"
    with tempfile.TemporaryDirectory() as place:
        try:
            qat.convert(model)
            if getattr(model, "hf_quantizer", None) is not None:
                model.save_pretrained(Path(place) / "model")  # what save_compressed writes, which would load it once more
            else:
                save_compressed(model, Path(place) / "model")
            loaded, info = type(dense).from_pretrained(Path(place) / "model", output_loading_info=True)
            lost = [f"{key} {sorted(map(str, names))[0]}" for key, names in info.items() if names and key.endswith("_keys")]
            if lost:
                return "failed", f"loads with {'; '.join(lost)}"
            for parameter in loaded.parameters():
                parameter.requires_grad_(False)
                parameter.data = parameter.data.clone()  # from a file's odd addresses, where products round otherwise
            with torch.no_grad():
                found = forward(loaded.eval())
        except Exception as error:
            return "failed", reason(error)
    if found.shape != expected.shape or not torch.equal(found, expected):
        error = (found.float() - expected.float()).abs().max().item() if found.shape == expected.shape else float("nan")
        return "failed", f"other logits: {error:.2g} of {expected.float().abs().max().item():.2g}"
    if left_dense is None and reach.share < 0.5:
        return "failed", f"silent: {reach.sentence('quantized')}"
    experts = [name for name in reach.left if "expert" in name.lower()]
    if named or experts:
        first = next(iter(named.items()), None)
        detail = [f"{len(named)} modules, first {first[0]}: {first[1]}"] if first else []
        return "named", "; ".join([*detail, reach.sentence("quantized")])
    return "exact", reach.sentence("quantized")


def in_order() -> list[tuple[str, str, str]]:
    """Every row: first each architecture once, the kinds in turn, then the further heads."""
    places: collections.Counter[str] = collections.Counter()
    seen: set[str] = set()
    ranked = []
    for row in architectures():
        ranked.append((row[1] in seen, places[row[0]], row))
        seen.add(row[1])
        places[row[0]] += 1
    return [row for *_, row in sorted(ranked, key=lambda item: item[:2])]


def run(out: Path, only: list[str], limit: int, part: int, parts: int) -> None:
    """Measure what `out` does not hold yet, at most `limit` architectures, of every `parts`-th one."""
    done = {tuple(json.loads(line)["row"]) for line in out.read_text().splitlines()} if out.is_file() else set()
    left = [row for row in in_order()[part::parts] if row not in done and (not only or row[1] in only)]
    first = {row[1]: row for row in reversed(architectures())}
    for kind, model_type, class_name in left[:limit]:
        record: dict[str, Any] = {"row": [kind, model_type, class_name], "cells": {}}
        try:
            with _limit(SECONDS):
                dense = stored(build(model_type, class_name, runs))
        except (CannotBuildError, TooLongError) as error:
            record["not_built"] = str(error)
        else:
            for scheme, dtype in CELLS if first[model_type] == (kind, model_type, class_name) else FEW:
                try:
                    with _limit(SECONDS):
                        outcome = cell(dense, scheme, dtype)
                except Exception as error:
                    outcome = ("failed", reason(error))
                record["cells"][f"{scheme} {dtype}"] = outcome
        with out.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(kind, model_type, record.get("not_built") or [outcome for outcome, _ in record["cells"].values()], flush=True)
    print(f"{len(left) - min(limit, len(left))} left")


def read(file: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The records of a run by row."""
    return {tuple(record["row"]): record for record in map(json.loads, file.read_text().splitlines())}


def table(before_file: Path, after_file: Path) -> str:
    """Counts, then a line per architecture."""
    before, after = read(before_file), read(after_file)
    every = architectures()
    rows = [row for row in every if row in after]
    built = [row for row in rows if after[row]["cells"]]
    both = [row for row in built if before.get(row, {}).get("cells")]
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "compressed-tensors")
    )
    names = [f"{scheme} {dtype}" for scheme, dtype in CELLS]
    lines = [
        "# Every architecture under every scheme",
        "",
        f"{len(built)} classes of {len({row[1] for row in built})} model types, built tiny on a CPU, {len(names)} cells"
        f" each; {versions}; {datetime.datetime.now(datetime.UTC).date().isoformat()};",
        "`python scripts/sweep_architectures.py`, whose head says what the words mean. Before and after; failed must be 0.",
        "",
        f"Measured: {len(rows)} of {len(every)} classes; both counts are over the {len(both)} that were measured before and"
        " after.",
        "",
        "| scheme, stored as | " + " | ".join(f"{word} before | after" for word in ORDER) + " |",
        "|---|" + "--:|" * (2 * len(ORDER)),
    ]
    totals: dict[str, collections.Counter[str]] = {"before": collections.Counter(), "after": collections.Counter()}
    for name in names:
        counts = {}
        for label, records in (("before", before), ("after", after)):
            measured = [row for row in both if name in before[row]["cells"] and name in after[row]["cells"]]
            cells = [records[row]["cells"][name] for row in measured]
            counts[label] = collections.Counter(found[0] for found in cells)
            totals[label] += counts[label]
        lines.append(f"| {name} | " + " | ".join(f"{counts['before'][w]} | {counts['after'][w]}" for w in ORDER) + " |")
    lines.append("| all | " + " | ".join(f"{totals['before'][w]} | {totals['after'][w]}" for w in ORDER) + " |")
    lines += ["", "One letter per cell, in the order of the table above: e exact, n named, r refused, f failed.", ""]
    lines += ["| kind | architecture | before | after | what is said, or why it failed |", "|---|---|---|---|---|"]
    for row in built:
        letters = [
            "".join(records[row]["cells"].get(name, ["-"])[0][0] for name in names) if row in records else "-"
            for records in (before, after)
        ]
        said = dict.fromkeys(
            detail.replace("|", "/")[:230]
            for outcome, detail in after[row]["cells"].values()
            if outcome in ("refused", "failed")
        )
        if not said:
            said = dict.fromkeys(detail[:230] for outcome, detail in after[row]["cells"].values() if outcome == "named")
        lines.append(f"| {row[0]} | {row[1]} | {letters[0]} | {letters[1]} | {'; '.join(list(said)[:2])} |")
    lines += ["", "## Not built tiny", "", "| kind | architecture | why |", "|---|---|---|"]
    lines += [f"| {row[0]} | {row[1]} | {after[row]['not_built'][:160]} |" for row in rows if not after[row]["cells"]]
    return "\n".join(lines) + "\n"


def main() -> None:
    """See the module's head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("run", help="measure")
    measure.add_argument("out", type=Path)
    measure.add_argument("--only", nargs="*", default=[], help="model types")
    measure.add_argument("--limit", type=int, default=10_000, help="architectures in this call")
    measure.add_argument("--part", type=int, nargs=2, default=(0, 1), metavar=("PART", "PARTS"), help="for several at once")
    show = commands.add_parser("table", help="render")
    show.add_argument("before", type=Path)
    show.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.command == "table":
        sys.stdout.write(table(options.before, options.after))
        return
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("hf_compress").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    run(options.out, options.only, options.limit, *options.part)


if __name__ == "__main__":
    main()
