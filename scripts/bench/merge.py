r"""What a merge costs beside plain copying and beside mergekit.

    python scripts/bench/merge.py --peer-python <python of an environment with mergekit> --out docs/benchmarks/...

Three Llama checkpoints of about 250 M bf16 parameters are written (random base, members = base + small noise). Every case
runs in a process of its own, so that its memory is its own; what is counted starts when the libraries are imported: CPU
seconds of all threads, wall seconds until the result is on the disk (each case ends with a sync), and the peak of anonymous
memory above what the process had before the merge (memory-mapped inputs and the page cache are not anonymous). All cases
run in every round. Ours includes hashing the inputs and loading the result back, mergekit does neither; what the hashes
cost is a case of its own.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import _benchmark as bench
import torch

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}
METHODS = {
    "linear": {
        "ours": "method: linear",
        "peer": "merge_method: linear",
        "base": False,
        "values": {"weight": [0.2, 0.3, 0.5]},
    },
    "slerp": {"ours": "method: {name: slerp, t: 0.4}", "peer": "merge_method: slerp\nparameters: {t: 0.4}", "base": True},
    "ties": {
        "ours": "method: {name: ties, density: 0.4}",
        "peer": "merge_method: ties\nparameters: {density: 0.4, weight: 1.0}",
        "base": True,
    },
    "dare_ties": {
        "ours": "method: {name: dare_ties, density: 0.4}",
        "peer": "merge_method: dare_ties\nparameters: {density: 0.4, weight: 1.0}",
        "base": True,
    },
}


Case = tuple[str, str]
"""What is measured, and by whom."""
COPY: Case = ("copying (floor)", "copy")
HASH: Case = ("hashing the inputs (part of ours)", "hash")


class Watch:
    """Peak of this process's anonymous memory, sampled, above that at the start."""

    def __enter__(self) -> "Watch":
        self.start = self.peak = self._now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        self.cpu, self.wall = sum(os.times()[:2]), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        os.sync()
        self.wall = time.perf_counter() - self.wall
        self.cpu = sum(os.times()[:2]) - self.cpu
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, self._now())

    @staticmethod
    def _now() -> int:
        with open("/proc/self/status") as stream:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in stream if line.startswith("RssAnon"))

    def result(self) -> dict[str, float]:
        return {"cpu_s": self.cpu, "wall_s": self.wall, "peak_bytes": self.peak - self.start}


def run_copy(inputs: list[str], out: str) -> dict[str, float]:
    """The floor: read every input once, write as many bytes as the result has."""
    buffer = bytearray(2**22)
    with Watch() as watch:
        Path(out).mkdir()
        with open(f"{out}/model.safetensors", "wb", buffering=0) as target:  # noqa: PTH123
            for number, folder in enumerate(inputs):
                with open(f"{folder}/model.safetensors", "rb", buffering=0) as source:  # noqa: PTH123
                    while size := source.readinto(buffer):
                        if number == 0:
                            target.write(memoryview(buffer)[:size])
    return watch.result()


def run_ours(config: str, out: str) -> dict[str, float]:
    import transformers  # noqa: F401  # imported by the load-back, and by mergekit before it starts

    from hf_compress.jobs.merge.recipe import load_merge

    job = load_merge(Path(config), Path(out))
    with Watch() as watch:
        job.run()
    return watch.result()


def run_hash(inputs: list[str], out: str) -> dict[str, float]:
    """What provenance costs: SHA-256 of the three members."""
    from hf_compress.checkpoints.hashes import input_hashes
    from hf_compress.checkpoints.source import open_source
    from hf_compress.merging.engine.engine import available_threads

    sources = {folder: open_source(Path(folder), folder) for folder in inputs}
    with Watch() as watch:
        input_hashes(sources, available_threads())
    return watch.result()


def run_peer(config: str, out: str) -> dict[str, float]:
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    job = MergeConfiguration.model_validate(yaml.safe_load(Path(config).read_text()))
    options = MergeOptions(copy_tokenizer=False, write_model_card=False, random_seed=0)
    with Watch() as watch:
        run_merge(job, out, options)
    return watch.result()


def write_models(folder: Path, layers: int) -> int:
    """base, a, b, c; the number of parameters."""
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    config = {**CONFIG, "num_hidden_layers": layers}
    with torch.device("meta"):
        shapes = {
            name: tensor.shape
            for name, tensor in LlamaForCausalLM(LlamaConfig(**{**config, "architectures": None})).state_dict().items()
        }
    base = {name: torch.randn(shape, dtype=torch.bfloat16).mul_(0.02) for name, shape in shapes.items()}
    for member in ("base", "a", "b", "c"):
        tensors = base
        if member != "base":
            tensors = {
                name: tensor + torch.randn(tensor.shape, dtype=torch.bfloat16).mul_(0.004) for name, tensor in base.items()
            }
        (folder / member).mkdir(parents=True)
        save_file(tensors, folder / member / "model.safetensors", metadata={"format": "pt"})
        (folder / member / "config.json").write_text(json.dumps(config))
    return sum(shape.numel() for shape in shapes.values())


def configs(folder: Path) -> dict[str, dict[str, str]]:
    """method -> whose -> YAML file."""
    found: dict[str, dict[str, str]] = {}
    for name, method in METHODS.items():
        members = ["a"] if name == "slerp" else ["a", "b", "c"]
        weights = method.get("values", {}).get("weight", [1.0] * len(members))
        pairs = list(zip(members, weights, strict=True))
        ours = method["ours"] + f"\nmembers: [{', '.join(f'{{model: {folder}/{m}, weight: {w}}}' for m, w in pairs)}]\n"
        peer = method["peer"] + "\nmodels:\n"
        if name == "slerp":
            peer += f"  - model: {folder}/base\n"
        for member, weight in pairs:
            peer += f"  - model: {folder}/{member}\n    parameters: {{weight: {weight}}}\n"
        if method["base"]:
            ours += f"base: {folder}/base\n"
            peer += f"base_model: {folder}/base\n"
        found[name] = {}
        for whose, text in (("ours", ours), ("peer", peer)):
            file = folder / f"{name}-{whose}.yaml"
            file.write_text(text)
            found[name][whose] = str(file)
    return found


def measure(python: str, case: str, arguments: list[str]) -> dict[str, float]:
    """One run in a process of its own."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if case != "peer":
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    command = [python, str(Path(__file__).resolve()), "--run", case, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if "--run" in sys.argv:
        case, *arguments = sys.argv[sys.argv.index("--run") + 1 :]
        floors: dict[str, Callable[[list[str], str], dict[str, float]]] = {"copy": run_copy, "hash": run_hash}
        cases: dict[str, Callable[[str, str], dict[str, float]]] = {"ours": run_ours, "peer": run_peer}
        result = floors[case](arguments[:-1], arguments[-1]) if case in floors else cases[case](*arguments)
        print(json.dumps(result))
        return
    parser = bench.parser(__doc__.splitlines()[0], repeats=5)
    parser.add_argument("--peer-python", default=sys.executable, help="python of an environment with mergekit")
    parser.add_argument("--layers", type=int, default=14, help="layers of the models; 14 = 245 M parameters")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="what is merged by")
    parser.add_argument("--work", type=Path, default=None, help="where to write; needs 3 GB")
    parser.add_argument("--cold", action="store_true", help="empty the page cache before each case (needs root)")
    options = parser.parse_args()
    bench.prepare(options)
    peer = has_peer(options.peer_python)
    head = bench.header("Merging checkpoints", ["hf_compress", "transformers", "safetensors"])
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        folder = Path(name)
        bench.progress("writing the models")
        parameters = write_models(folder, options.layers)
        text, rows = measure_all(options, folder, peer)
    title = (
        f"{parameters / 1e6:.0f} M bf16 parameters per model, 3 members (SLERP: 1), median of {options.repeats} interleaved"
        f" rounds, {'cold' if options.cold else 'warm'} page cache\npeer      {peer or 'mergekit is not installed'}"
    )
    bench.emit([head, title, rows, text], options.out)


def has_peer(python: str) -> str | None:
    code = "import importlib.metadata as m; print('mergekit', m.version('mergekit'), 'on torch', m.version('torch'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def measure_all(options: argparse.Namespace, folder: Path, peer: str | None) -> tuple[str, str]:
    files = configs(folder)
    members = [str(folder / member) for member in "abc"]
    cases = {COPY: members, HASH: members}
    for method in options.methods:
        cases[method, "ours"] = [files[method]["ours"]]
        if peer:
            cases[method, "peer"] = [files[method]["peer"]]
    found: dict[Case, list[dict[str, float]]] = {case: [] for case in cases}
    notes = []
    names = list(cases)
    for number in range(options.repeats):
        for case in [*names[number % len(names) :], *names[: number % len(names)]]:
            bench.progress(f"round {number + 1}: {case[0]} ({case[1]})")
            out = folder / f"out-{case[0].split()[0]}-{case[1]}"
            shutil.rmtree(out, ignore_errors=True)
            if options.cold:
                os.sync()
                Path("/proc/sys/vm/drop_caches").write_text("3")
            python = options.peer_python if case[1] == "peer" else sys.executable
            found[case].append(measure(python, case[1], [*cases[case], str(out)]))
        if number == 0 and peer and "linear" in options.methods:
            notes.append(compare(folder))
    return "\n".join(notes), rows_of(found, peer)


def compare(folder: Path) -> str:
    """Are the linear merges bitwise equal?"""
    from hf_compress.checkpoints.source import open_source

    ours, theirs = (open_source(folder / f"out-linear-{whose}", whose) for whose in ("ours", "peer"))
    assert set(ours.infos) == set(theirs.infos), set(ours.infos) ^ set(theirs.infos)
    different = sum(not torch.equal(ours.read(name), theirs.read(name)) for name in ours.infos)
    return f"linear: {len(ours.infos) - different} of {len(ours.infos)} tensors are bitwise equal to mergekit's"


def rows_of(found: dict[Case, list[dict[str, float]]], peer: str | None) -> str:
    copy = found[COPY]
    if peer and ("linear", "ours") in found:  # round by round; it runs before the merge, so the peak stays
        less = [
            {**run, "cpu_s": run["cpu_s"] - hashing["cpu_s"], "wall_s": run["wall_s"] - hashing["wall_s"]}
            for run, hashing in zip(found["linear", "ours"], found[HASH], strict=True)
        ]
        found = {**found, ("linear, less the hashing", "ours"): less}
    rows = []
    for (method, whose), runs in found.items():
        against = found.get((method.partition(",")[0], "peer")) if whose == "ours" else None

        def over(key: str, runs=runs, other=None) -> str:  # type: ignore[no-untyped-def]
            return bench.ratio([run[key] for run in runs], [max(run[key], 1e-9) for run in other]) if other else "-"

        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        rows.append(
            [
                f"{method} ({whose})" if whose in ("ours", "peer") else method,
                f"{middle['cpu_s']:.2f}",
                over("cpu_s", other=against),
                f"{middle['wall_s']:.2f}",
                over("wall_s", other=copy) if whose != "copy" else "1.00x",
                f"{middle['peak_bytes'] / 1e6:.0f}",
                over("peak_bytes", other=against),
            ]
        )
    head = ["case", "CPU s", "CPU vs mergekit", "wall s", "wall vs copy", "peak anonymous MB", "peak vs mergekit"]
    return bench.table(head, rows)


if __name__ == "__main__":
    main()
