"""What a merge writes beside its weights, and whether that loads."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress.checkpoints.companion_names import left_behind
from hf_compress.checkpoints.companions import companions, copy_companions, write_chat_template
from hf_compress.checkpoints.loads import LoadBack
from hf_compress.checkpoints.writer import Layout
from hf_compress.merging.engine.opened import GENERATION, OpenedMerge
from hf_compress.merging.members.readers import verify_readers

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What was written, and what loading it said.

    Attributes:
        config: config.json of the result.
        loads: what the weights said.
        readers: what the tokenizer and the processor said; "" without them.
        left: files of the input that gave the tokenizer which the result does not have.
    """

    config: dict[str, Any]
    loads: LoadBack
    readers: str
    left: tuple[str, ...]

    def report(self) -> dict[str, str]:
        """For the manifest; {} where there is nothing to say."""
        found = {"read_by": self.readers, "not_copied": ", ".join(self.left)}
        return {name: text for name, text in found.items() if text}


def write_beside(job: OpenedMerge, layout: Layout, folder: Path, place: Path | None = None) -> Beside:
    """Write index, config, tokenizer, processors and settings into the folder that holds the weights, and load all of it.

    Args:
        job: the merge.
        layout: of the weights.
        folder: the result.
        place: how refusals call the folder; by default as it is.

    Raises:
        CompressionError: the result does not load, or reads texts otherwise than the input that gave the tokenizer.
    """
    layout.write_index(folder)
    config = job.write_config(folder)
    source, tokenizer = job.tokenizer_folder(), job.vocabulary.tokenizer
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
        if job.generation:
            (folder / GENERATION).write_text(json.dumps(job.generation, indent=2) + "\n", encoding="utf-8")
    copy_companions(source, folder, tokenizer=tokenizer is None)
    if job.chat_template is not None:
        write_chat_template(job.chat_template, folder)
    loads = job.load_back(folder, config, place)
    readers = verify_readers(folder, source, tokenizer, place)
    return Beside(config=config, loads=loads, readers=readers, left=tuple(left_behind(source, companions(source))))
