"""A checkpoint with adapters merged into it, as a new checkpoint."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_compress._disk import require_space
from hf_compress._errors import CompressionError
from hf_compress._folders import check_place, written_beside
from hf_compress._units import format_bytes
from hf_compress._version import __version__
from hf_compress.checkpoints.companion_names import left_behind
from hf_compress.checkpoints.companions import companions, copy_companions, write_config
from hf_compress.checkpoints.dequantized import dense_source
from hf_compress.checkpoints.hashes import sha256_of
from hf_compress.checkpoints.loads import verify_loads
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.checkpoints.source import open_source
from hf_compress.checkpoints.writer import ShardFile, lay_out, parse_size
from hf_compress.merging.lora.adapter import Adapter
from hf_compress.merging.lora.changes import ZeroCount
from hf_compress.merging.lora.source import AdaptedSource
from hf_compress.merging.members.readers import verify_readers


@dataclass(frozen=True, kw_only=True)
class AppliedResult:
    """What merging adapters into a base left behind.

    Attributes:
        folder: the new checkpoint.
        changed: tensors that differ from the base's, sorted.
        num_bytes: of all tensors.
        zeros: per adapter, of the weights its factors change.
        kept: whether lost zeros were set to 0 again.
        loads: what loading it back said.
        readers: what loading its tokenizer and processor said; "" without them.
        left: files of the base that are not copied.
    """

    folder: Path
    changed: tuple[str, ...]
    num_bytes: int
    zeros: dict[str, ZeroCount]
    kept: bool
    loads: str
    readers: str = ""
    left: tuple[str, ...] = ()

    def summary(self) -> str:
        """What the command line says at the end."""
        lines = [f"{len(self.changed)} tensors changed, {format_bytes(self.num_bytes)} written", self.loads]
        lines += [self.readers] if self.readers else []
        lines += [f"not copied from the base: {', '.join(self.left)}"] if self.left else []
        for adapter, count in self.zeros.items():
            if count.lost:
                what = "kept at 0" if self.kept else "lost (keep_zeros keeps them)"
                share = count.zeros / count.elements
                lines.append(f"{adapter}: {share:.4f} of the adapted weights were 0, {count.lost} of {count.zeros} {what}")
        return "\n".join([*lines, f"model  {self.folder}"])


def apply_adapters(
    model: str | Path,
    adapters: Sequence[str | Path],
    out: str | Path,
    *,
    keep_zeros: bool = False,
    max_shard_size: str = "5GB",
) -> AppliedResult:
    """Write the checkpoint of `model` with the adapters merged into its weights, one after the other.

    Tensors are read, changed and written one at a time; the folder is written beside its place and renamed when it loads.

    Args:
        model: folder or Hub id of the base; one in compressed-tensors is unpacked, and the result is dense.
        adapters: folders or Hub ids of PEFT LoRA adapters (DoRA too).
        out: the new folder.
        keep_zeros: weights that are exactly 0 in the base stay 0, so that a pruned model stays pruned.
        max_shard_size: bytes per file, as "5GB".

    Raises:
        CompressionError: an adapter does not fit the base; a full disk.
    """
    out = Path(out)
    check_place(out)
    if not adapters:
        raise CompressionError("no adapters; name at least one folder")
    shard_bytes = parse_size(max_shard_size, "max_shard_size")
    folder = resolve_folder(str(model), "model")
    source = dense_source(open_source(folder, str(model)))
    stack: list[AdaptedSource] = []
    for adapter in adapters:
        opened = Adapter(resolve_folder(str(adapter), "adapter"), str(adapter))
        stack.append(AdaptedSource(stack[-1] if stack else source, opened, keep_zeros=keep_zeros))
    adapted = stack[-1]
    about = {"version": __version__, "lora": {"apply": {"keep_zeros": keep_zeros}, "inputs": _hashes(adapted.files())}}
    layout = lay_out(adapted.infos, shard_bytes, {"hf_compress": json.dumps(about, separators=(",", ":"))})
    with written_beside(out) as part:
        require_space(part, sum(shard.num_bytes for shard in layout.shards))
        for shard in layout.shards:
            file = ShardFile(part, shard)
            try:
                for name in shard.offsets:
                    file.write(name, 0, adapted.read(name).contiguous())
            finally:
                file.close()
        layout.write_index(part)
        config = write_config(adapted.config, {}, None, part)
        copy_companions(folder, part)
        loads = verify_loads(part, config, [adapted]).sentence
        readers = verify_readers(part, folder)
    return AppliedResult(
        folder=out,
        changed=tuple(sorted({name for layer in stack for name in layer.changed()})),
        num_bytes=layout.num_bytes,
        zeros={layer.adapter.label: layer.zeros() for layer in stack},
        kept=keep_zeros,
        loads=loads,
        readers=readers,
        left=tuple(left_behind(folder, companions(folder))),
    )


def _hashes(files: Sequence[Path]) -> list[dict[str, str]]:
    """File and SHA-256, in order: base first."""
    return [{"file": f"{file.parent.name}/{file.name}", "sha256": sha256_of(file)} for file in files]
