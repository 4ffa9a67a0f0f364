r"""Does `hf-compress merge file.yaml out` write what mergekit writes for the same file?

    python scripts/bench/compare_mergekit.py --peer-python <python of an environment with mergekit 0.1.5> \
        --out docs/benchmarks/compare_mergekit-<date>.txt

Tiny models are built from configs. Every configuration goes through the command line's own function here, and through
mergekit's run_merge in one process there. Compared are the sets of tensor names, every tensor (rows of tokens by token,
fused experts as transformers loads them), config.json as transformers reads it, tokenizer and chat template. Methods that
draw random numbers are compared by what must be equal: the share of weights that moved, the l1 norm of the change, and the
direction of the change where both kept it.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import _benchmark as bench
import torch

RANDOM = ("dare", "della")
Pairs = dict[str, tuple[torch.Tensor, torch.Tensor]]


@dataclass
class Row:
    """One configuration.

    Attributes:
        tensors: how many are the same, or what is missing where.
        absolute: largest difference; None where nothing was compared.
        relative: the same over the largest value of its tensor.
        equal: tensors that are equal to the bit.
        notes: everything else that differs.
    """

    tensors: str = ""
    absolute: float | None = None
    relative: float | None = None
    equal: str = ""
    verdict: str = ""
    notes: list[str] = field(default_factory=list)


def run_peer(folder: Path) -> None:
    """All configurations, one after the other; what went wrong goes to peer.json."""
    import logging

    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    logging.disable(logging.CRITICAL)
    torch.set_num_threads(2)
    options = MergeOptions(write_model_card=False, random_seed=0, quiet=True, lora_merge_cache=str(folder / "adapters"))
    problems = {}
    for file in sorted(folder.glob("*.yaml")):
        try:
            job = MergeConfiguration.model_validate(yaml.safe_load(file.read_text()))
            run_merge(job, str(folder / "peer" / file.stem), options)
        except Exception as error:
            problems[file.stem] = " ".join(f"{type(error).__name__}: {error}".split())
    (folder / "peer.json").write_text(json.dumps(problems))


def run_ours(folder: Path) -> dict[str, str]:
    """The same through `hf-compress merge`."""
    from typer.testing import CliRunner

    from hf_compress.cli import app

    problems = {}
    for file in sorted(folder.glob("*.yaml")):
        done = CliRunner().invoke(app, ["merge", str(file), str(folder / "ours" / file.stem)])
        if done.exit_code:
            error = done.exception
            problems[file.stem] = " ".join((done.output if isinstance(error, SystemExit) else str(error)).split())
    return problems


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def loaded(folder: Path) -> dict[str, torch.Tensor]:
    """Under transformers' names, so that experts stored one by one and stored as one are the same."""
    import transformers

    config = json.loads((folder / "config.json").read_text())
    with contextlib.redirect_stderr(io.StringIO()):
        model = getattr(transformers, config["architectures"][0]).from_pretrained(folder)
    return dict(model.state_dict())


def compare(name: str, text: str, ours: Path, peer: Path, group: Path) -> Row:
    row = Row()
    mine, theirs = tensors_of(ours), tensors_of(peer)
    if any(".experts." in each for each in mine):
        row.notes.append(f"stored as {len(mine)} tensors here, {len(theirs)} there")
        mine, theirs = loaded(ours), loaded(peer)
    only_mine, only_theirs = sorted(mine.keys() - theirs.keys()), sorted(theirs.keys() - mine.keys())
    row.tensors = str(len(mine)) if not only_mine and not only_theirs else f"{len(mine)} / {len(theirs)}"
    for names, where in ((only_mine, "mergekit"), (only_theirs, "ours")):
        if names:
            row.notes.append(f"{where} lacks {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else ""))
    order = token_order(ours, peer)
    common = sorted(mine.keys() & theirs.keys())
    pairs = {}
    for each in common:
        a, b = mine[each], theirs[each]
        if order is not None and a.dim() and order[2] == a.shape[0] and each.split(".")[-2] in ("embed_tokens", "lm_head"):
            if b.shape[0] != a.shape[0]:
                row.notes.append(f"{each}: {a.shape[0]} rows here, {b.shape[0]} there")
            padding = [a[len(order[0]) :], b[len(order[1]) :]]
            a, b = (torch.cat([x[i], p]) for x, i, p in zip((a, b), order[:2], padding, strict=True))
        if a.shape != b.shape:
            row.notes.append(f"{each}: {list(a.shape)} here, {list(b.shape)} there")
            continue
        if a.dtype != b.dtype:
            row.notes.append(f"stored as {a.dtype} here, {b.dtype} there".replace("torch.", ""))
        pairs[each] = (a, b)
    if any(f"merge_method: {kind}" in text for kind in RANDOM):
        random_rows(row, pairs, text, tensors_of(group / "base"))
    else:
        differences(row, pairs)
    row.notes += config_notes(ours, peer) + tokenizer_notes(ours, peer)
    row.notes = list(dict.fromkeys(row.notes))
    return row


def differences(row: Row, pairs: Pairs) -> None:
    same = sum(torch.equal(a, b) for a, b in pairs.values())
    row.equal = f"{same} of {len(pairs)}"
    gaps = {each: (a.double() - b.double()).abs().max().item() for each, (a, b) in pairs.items() if a.numel()}
    scales = {each: max(b.double().abs().max().item(), 1e-30) for each, (_, b) in pairs.items() if b.numel()}
    row.absolute = max(gaps.values(), default=0.0)
    row.relative = max((gaps[each] / scales[each] for each in gaps), default=0.0)
    narrow = any(a.dtype != torch.float32 for a, _ in pairs.values())
    # fp32: a few roundings of the largest value; bf16, fp16: two units of bf16, as mergekit rounds after every step.
    limit = 2**-6 if narrow else 2e-6
    row.verdict = "equal" if not row.absolute else "rounding" if row.relative <= limit else "DIFFERS"
    if row.verdict == "DIFFERS":
        far = sum(int(((a.double() - b.double()).abs() > limit * scales[each]).sum()) for each, (a, b) in pairs.items())
        total = sum(a.numel() for a, _ in pairs.values())
        row.notes.append(f"{far} of {total} elements ({far / total:.2%}) differ by more than rounding")


def random_rows(row: Row, pairs: Pairs, text: str, base: dict[str, torch.Tensor]) -> None:
    """Density, l1 norm and direction, over all tensors."""
    kept = [0, 0]
    norms = [0.0, 0.0]
    total, worst = 0, 0.0
    single = text.count("{model:") == 1
    for each, (a, b) in pairs.items():
        changes = [x.double() - base[each].double() for x in (a, b)]
        # A change below the rounding of the sum is none.
        moved = [change.abs() > 1e-7 * base[each].abs().max().item() for change in changes]
        total += a.numel()
        for number in (0, 1):
            kept[number] += int(moved[number].sum())
            norms[number] += changes[number].abs().sum().item()
        both = moved[0] & moved[1]
        if single and both.any():
            ratio = changes[0][both].sum() / changes[1][both].sum()
            exact = torch.tensor(1.0).double() if "rescale: false" in text else ratio
            gap = (changes[0][both] - exact * changes[1][both]).abs().max() / changes[1][both].abs().max()
            worst = max(worst, gap.item())
    row.equal = "-"
    row.notes.append(
        f"moved {kept[0] / total:.4f} here, {kept[1] / total:.4f} there; l1 of the change {norms[0]:.5g}, {norms[1]:.5g}"
        + (f"; largest relative difference where both moved {worst:.1e}" if single else "")
    )
    # 1e5 draws: five standard deviations of a share are 0.008; the norm of rescaled changes is given.
    alike = abs(kept[0] - kept[1]) / total < 0.008 and abs(norms[0] / norms[1] - 1) < 0.02 and worst < 1e-4
    row.verdict = "same distribution" if alike else "DIFFERS"


def token_order(ours: Path, peer: Path) -> tuple[list[int], list[int], int] | None:
    """Row numbers of the common tokens here and there, in one order; None where both number them equally."""
    from transformers import AutoTokenizer

    if not all((folder / "tokenizer.json").is_file() for folder in (ours, peer)):
        return None
    mine, theirs = (AutoTokenizer.from_pretrained(folder).get_vocab() for folder in (ours, peer))
    if mine == theirs or mine.keys() != theirs.keys():
        return None
    tokens = sorted(mine)
    size = json.loads((ours / "config.json").read_text())["vocab_size"]
    return [mine[token] for token in tokens], [theirs[token] for token in tokens], size


def config_notes(ours: Path, peer: Path) -> list[str]:
    from transformers import AutoConfig

    mine, theirs = (AutoConfig.from_pretrained(folder).to_dict() for folder in (ours, peer))
    ignored = {"transformers_version", "_name_or_path"}
    keys = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key) and key not in ignored)
    return [f"config.json: {key} {mine.get(key)!r} here, {theirs.get(key)!r} there" for key in keys]


def tokenizer_notes(ours: Path, peer: Path) -> list[str]:
    from transformers import AutoTokenizer

    have = [(folder / "tokenizer.json").is_file() for folder in (ours, peer)]
    if have[0] != have[1]:
        return [f"tokenizer only {'here' if have[0] else 'there'}"]
    if not have[0]:
        return []
    mine, theirs = (AutoTokenizer.from_pretrained(folder) for folder in (ours, peer))
    found = []
    if mine.chat_template != theirs.chat_template:
        found.append(f"chat template {mine.chat_template!r} here, {theirs.chat_template!r} there")
    a, b = mine.get_vocab(), theirs.get_vocab()
    if a.keys() != b.keys():
        found.append(f"tokens {sorted(a.keys() - b.keys())} only here, {sorted(b.keys() - a.keys())} only there")
    elif a != b:
        found.append("new tokens have other ids")
    return found


def main() -> None:
    if "--peer" in sys.argv:
        run_peer(Path(sys.argv[sys.argv.index("--peer") + 1]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="python of an environment with mergekit")
    parser.add_argument("--only", default="", help="configurations whose name contains this")
    parser.add_argument("--work", type=Path, default=None, help="keep models and results in this folder")
    parser.add_argument("--out", type=Path, default=None, help="also write the text to this file")
    options = parser.parse_args()
    torch.set_num_threads(2)
    head = bench.header("What mergekit writes, and what `hf-compress merge` writes", ["hf_compress", "transformers"])
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.work or Path(temporary)).resolve()
        rows, notes = measure(folder, options)
    code = "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in ('mergekit', 'torch', 'transformers')))"
    peer = subprocess.run([options.peer_python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    columns = ["configuration", "tensors", "equal to the bit", "max abs difference", "relative", "verdict"]
    bench.emit([f"{head}\npeer      {peer}", bench.table(columns, rows), notes], options.out)


def measure(folder: Path, options: argparse.Namespace) -> tuple[list[list[str]], str]:
    import _mergekit_models as tiny
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "llama").exists():
        bench.progress("writing the models")
        tiny.write_models(folder)
    chosen = {name: case for name, case in tiny.cases().items() if options.only in name}
    names = {f"{number:03d}": name for number, name in enumerate(chosen)}
    for stem, name in names.items():
        (folder / f"{stem}.yaml").write_text(chosen[name][1])
    os.chdir(folder)
    bench.progress(f"mergekit: {len(names)} configurations")
    command = [options.peer_python, str(Path(__file__).resolve()), "--peer", str(folder)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    theirs = json.loads((folder / "peer.json").read_text())
    bench.progress("ours")
    ours = run_ours(folder)
    rows, notes, whose = [], [], ("ours", "mergekit")
    for stem, name in names.items():
        bench.progress(f"comparing {name}")
        if stem in ours or stem in theirs:
            both = stem in ours and stem in theirs
            row = Row(verdict="both refuse" if both else "only ours refuses" if stem in ours else "only mergekit refuses")
            row.notes = [
                f"{who}: {said[stem][:300]}" for who, said in zip(whose, (ours, theirs), strict=True) if stem in said
            ]
        else:
            group, text = chosen[name]
            row = compare(name, text, folder / "ours" / stem, folder / "peer" / stem, folder / group)
        if name in tiny.KNOWN:
            row.verdict = f"{row.verdict.lower()}, known"
            row.notes.append(tiny.KNOWN[name])
        shown = ["-" if value is None else f"{value:.1e}" if value else "0" for value in (row.absolute, row.relative)]
        rows.append([name, row.tensors or "-", row.equal or "-", *shown, row.verdict])
        notes += [f"- {name}: {note}" for note in row.notes]
    return rows, "Notes\n\n" + "\n".join(notes).replace(str(folder) + "/", "")


if __name__ == "__main__":
    main()
