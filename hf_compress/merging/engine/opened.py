"""A merge with its inputs open: unpacked, adapted, aligned, stacked, and every tensor accounted for."""

import functools
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hf_compress._errors import CompressionError
from hf_compress._problems import and_more
from hf_compress._registry import dump
from hf_compress._version import __version__
from hf_compress.checkpoints.companions import companions, most_frequent_chat_template, write_config
from hf_compress.checkpoints.dequantized import DequantizedSource, dense_source
from hf_compress.checkpoints.hashes import input_hashes, sha256_of
from hf_compress.checkpoints.loads import LoadBack, verify_loads
from hf_compress.checkpoints.source import Source, read_settings
from hf_compress.checkpoints.tied import tied_tensors
from hf_compress.checkpoints.writer import Layout, lay_out, parse_size
from hf_compress.merging.compat import differences
from hf_compress.merging.configuration import BASE, Merge
from hf_compress.merging.engine.inputs import open_inputs
from hf_compress.merging.engine.zeros import ZerosPolicy
from hf_compress.merging.lora.scale import CONFIG as ADAPTER_CONFIG
from hf_compress.merging.lora.source import AdaptedSource
from hf_compress.merging.members.agreement import check_model_types
from hf_compress.merging.members.common_names import unify
from hf_compress.merging.members.heads import resolve_heads
from hf_compress.merging.members.text_part import TextPart, text_parts
from hf_compress.merging.members.vocabulary import align
from hf_compress.merging.plan.account import Location
from hf_compress.merging.plan.checks import check_merge
from hf_compress.merging.plan.parameters import Parameters, as_mean, resolve
from hf_compress.merging.plan.public_names import publish
from hf_compress.merging.plan.stacking import config_by_layer, stack_layers
from hf_compress.merging.plan.tensor_tasks import make_plan

logger = logging.getLogger(__name__)

GENERATION = "generation_config.json"


class OpenedMerge:
    """What `merge_checkpoints` streams.

    Attributes:
        public: the job as others may read it.
        merge: the job's values, every member named.
        folders: label -> folder; the base first.
        sources: label -> source, wrapped by whatever changes it before it is merged.
        chat_template: of the result; None = that of the tokenizer's folder.
        quantized: the members whose integers were unpacked, by label.
        quantization: config.json of the first of them, {} without any.
        names: what bringing the inputs to one set of names did.
        vocabulary: what aligning the tokenizers did.
        generation: generation_config.json of the result where the tokens move, else {}: it is copied.
        heads: what the policy for output heads did.
        changes: fields of config.json that stacking decides.
        account: where every tensor goes.
        sparsity: the policy for zeros.
        statistics: of data-aware methods: name -> label -> source.
        rehearsed: what loading the result's headers said; None before.
    """

    def __init__(self, merge: Merge, threads: int) -> None:
        plain = merge.plain()
        problems = check_merge(plain)
        if problems:
            raise CompressionError("\n".join(problems))
        self.public = publish(plain)
        self.merge, self.threads = self.public.job, threads
        self._opened = open_inputs(self.merge.members, self.merge.base, self.merge.base_adapter)
        self.folders, self.sources = self._opened.folders, dict(self._opened.sources)
        self._inputs = dict(self.sources)
        self.chat_template = self._chat_template()
        self.quantized: dict[str, DequantizedSource] = {}
        self.quantization: dict[str, Any] = {}
        self._beside: list[Path] = []
        self._unpack()
        self._apply_adapters()
        self._join_text()
        self.names = unify(list(self.sources.values()), BASE in self.sources)
        self.sources = {source.label: source for source in self.names.sources}
        self.vocabulary = align(list(self.sources.values()), self.folders, self.merge.tokenizer, self.merge.compat)
        members = [member.label for member in self.merge.members]
        self.heads = resolve_heads(self.vocabulary.sources, members, self.merge.heads, self.merge.compat)
        self.sources = {source.label: source for source in self.heads.sources}
        self.reference = next(iter(self.sources.values()))
        self.generation = self._generation()
        self.changes: dict[str, Any] = {}
        mapping, merged_from = self._stack()
        tied = tied_tensors(list(self.sources.values()))
        self.account = make_plan(
            self.merge, self.sources, mapping, tied, self.heads.copied, self.names.lent, self.names.ignored
        )
        self._parameters = self._resolve(merged_from or {})
        self.sparsity = ZerosPolicy(self.merge.sparsity, members)
        self.statistics = self._open_statistics()
        self.rehearsed: LoadBack | None = None

    def _chat_template(self) -> str | None:
        if self.merge.chat_template != "auto":
            return self.merge.chat_template
        found = most_frequent_chat_template(list(self.folders.values()))
        if found is None and not differences(self.merge.compat).takes_missing_template:
            raise CompressionError("chat_template: no input has one; write the template itself, or leave it out")
        return found

    def _generation(self) -> dict[str, Any]:
        file = self.tokenizer_folder() / GENERATION
        if self.vocabulary.tokenizer is None or not file.is_file():
            return {}
        return self.vocabulary.move(read_settings(file), str(file))

    def _unpack(self) -> None:
        for label, source in self.sources.items():
            dense = dense_source(source)
            if isinstance(dense, DequantizedSource):
                self.quantized[label] = dense
                self.quantization = self.quantization or source.config
                self.sources[label] = dense

    def _apply_adapters(self) -> None:
        for label, adapter in self._opened.adapters.items():
            self._beside.append(Path(adapter.place))
            self._inputs[label] = self.sources[label] = AdaptedSource(self.sources[label], adapter)

    def _join_text(self) -> None:
        """Text models become parts of what has a text model inside, whose tokenizer and processors the result then has."""
        parts = text_parts(list(self.sources.values()))
        check_model_types(parts)
        self.sources = {source.label: source for source in parts}
        self._files_of = next(source.label for source in parts if not isinstance(source, TextPart))

    def _open_statistics(self) -> dict[str, dict[str, Source]]:
        """Statistic -> label of the member -> its folder, which has the names of the member's checkpoint."""
        opened: dict[str, dict[str, Source]] = {name: {} for name in self.merge.method.needs}
        for member in self.merge.members:
            for name, folder in member.statistics.items():
                label = f"{member.label} ({name})"
                source = self.names.like(member.label, self._opened.statistics[name][member.label])
                self._beside.append(Path(source.place))
                if not set(source.infos) & set(self.sources[member.label].infos):
                    raise CompressionError(
                        f"{label}: {folder} has no tensor named like one of {member.model}; collect the statistics of this"
                        " model and save them with save_statistics()"
                    )
                opened[name][member.label] = self._inputs[label] = source
        return opened

    def _stack(self) -> tuple[dict[str, list[Location]] | None, dict[str, list[str]] | None]:
        """Where each tensor's sources are when layers are chosen, and which members those are."""
        if self.merge.slices is None:
            return None, None
        hidden = {name for name in self.names.ignored if any(name not in one.infos for one in self.sources.values())}
        names = {label: source.infos.keys() - hidden for label, source in self.sources.items()}
        stack = stack_layers(self.merge, names, {label: config_by_layer(source) for label, source in self.sources.items()})
        self.changes = stack.config
        if self.quantized:
            self.quantization = next(iter(self.quantized.values())).stacked_config(stack.places)
        return stack.places, stack.members()

    def _resolve(self, merged_from: Mapping[str, list[str]]) -> dict[str, Parameters]:
        """The method and its numbers for each tensor; what not all inputs have is said in the log."""
        partly = {name: task for name, task in self.account.tasks.items() if name in self.names.lent}
        some = {name: [label for label, _ in task.sources] for name, task in partly.items() if task.action == "merge"}
        # All names go in, copied ones too: how many layers there are follows from them.
        found = resolve(self.merge, self.account.tasks, {**merged_from, **some})
        told: dict[str, list[str]] = {}
        for name, task in partly.items():
            told.setdefault(task.reason, []).append(name)
            if task.mean:
                found[name] = as_mean(name, found[name], self.merge.compat)
        for place, reason in self.account.excluded.items():
            if self.names.ignored.get(place[1]) == reason:
                told.setdefault(f"left out of {place[0]}, {reason}", []).append(place[1])
        for reason, names in told.items():
            logger.warning("%s: %s", and_more(names), reason)
        return found

    def parameters_of(self, name: str) -> Parameters:
        """How the tensor `name` is merged."""
        return self._parameters[name]

    @functools.cached_property
    def hashes(self) -> dict[str, dict[str, str]]:
        """SHA-256 of every input file; reading them takes a while, so only a merge that goes on asks for them."""
        return input_hashes(self._inputs, self.threads)

    def metadata(self) -> dict[str, str]:
        """What each file's header says about its making."""
        made = {"version": __version__, "torch": torch.__version__, "merge": dump(self.public.merge), "inputs": self.hashes}
        return {"hf_compress": json.dumps(made, separators=(",", ":"))}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Equal for merges that write the same bytes: configs and tokenizers decide about them too."""
        digest = hashlib.sha256(self.metadata()["hf_compress"].encode())
        for folder in self.inputs():
            for entry in [folder / "config.json", folder / ADAPTER_CONFIG, *companions(folder)]:
                for file in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
                    if file.is_file():
                        digest.update(f"{file.relative_to(folder)} {sha256_of(file)}".encode())
        return digest.hexdigest()

    def inputs(self) -> list[Path]:
        """Every folder that is read."""
        return [*self.folders.values(), *self._beside]

    def layout(self, metadata: Mapping[str, str]) -> Layout:
        """The result's files, each with `metadata` in its header."""
        infos = {name: task.info for name, task in self.account.tasks.items()}
        return lay_out(infos, parse_size(self.merge.max_shard_size, "max_shard_size"), metadata)

    def write_config(self, folder: Path) -> dict[str, Any]:
        """Write config.json of the result; its content, {} where the inputs have none."""
        dtypes = {task.info.dtype for task in self.account.tasks.values() if task.info.dtype.is_floating_point}
        dtype = str(dtypes.pop()).removeprefix("torch.") if len(dtypes) == 1 else None
        return write_config(self.reference.config, self.changes, dtype, folder)

    def load_back(self, folder: Path, config: dict[str, Any], place: Path | None = None) -> LoadBack:
        """Load the result in `folder`; see `verify_loads`."""
        return verify_loads(
            folder,
            config,
            list(self.sources.values()),
            expected_missing=self.heads.dropped,
            renumbered=self.merge.slices is not None,
            place=place,
        )

    def tokenizer_folder(self) -> Path:
        """Whose tokenizer and processors the result has."""
        return self.folders[self._files_of]
