"""What a run has measured so far, so that an interrupted one goes on."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_compress._folders import clear

logger = logging.getLogger(__name__)

JOURNAL = ".measured.json"
_BESIDE = f"{JOURNAL}.part"


class Journal:
    """A file in the folder that is written; of another run, model or data it is thrown away.

    Args:
        part: the folder; emptied but for the journal.
        asked: plain data of what decides the numbers, and some of them: two runs that have the same go on with each other.
    """

    def __init__(self, part: Path, asked: Mapping[str, Any]) -> None:
        self.part, self.asked = part, json.loads(json.dumps(asked))
        known = self._read()
        there = known.get("asked") == self.asked and isinstance(known.get("measured"), dict)
        self.measured: dict[str, dict[float, dict[str, float]]] = {}
        if there:
            self.measured = {
                group: {float(sparsity): metrics for sparsity, metrics in points.items()}
                for group, points in known["measured"].items()
            }
            logger.info("going on: %d measurements are there", sum(map(len, self.measured.values())))
        elif known:
            logger.info("%s is left from another run and is replaced", part)
        clear(part, [JOURNAL] if there else [])

    def _read(self) -> dict[str, Any]:
        try:
            data = json.loads((self.part / JOURNAL).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}

    def keep(self, group: str, sparsity: float, metrics: Mapping[str, float]) -> None:
        """Note one more, at once."""
        self.measured.setdefault(group, {})[sparsity] = dict(metrics)
        beside = self.part / _BESIDE
        beside.write_text(json.dumps({"asked": self.asked, "measured": self.measured}), encoding="utf-8")
        beside.rename(self.part / JOURNAL)

    def remove(self) -> None:
        """All is written."""
        (self.part / JOURNAL).unlink(missing_ok=True)
