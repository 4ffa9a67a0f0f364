"""The contract of an export format: how a finished model lies on disk, and who can read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn
from transformers import PreTrainedModel

from hf_compress._folders import written_beside
from hf_compress._registry import Strategy
from hf_compress._safetensors import weight_files
from hf_compress._sharding.contract import loading_whole

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


@dataclass(frozen=True, kw_only=True)
class ExportFormat(Strategy, kind="export format", package="hf_compress.export.formats"):
    """How a finished model is written and loaded back.

    Attributes:
        packs: whether compressed-tensors packs the quantized weights, so that transformers' own loader has to unpack them;
            that it does is then tried before training.
        needs: what loading asks for, for the card.
        served_by_vllm: vLLM reads the format, for the card; whether it has kernels for a model is another question.
        dtype: the only type that it stores, by name; empty for any.
        tolerance: how far outputs of what is loaded back may be from the model's, as a share of the largest.
    """

    packs: ClassVar[bool] = False
    served_by_vllm: ClassVar[bool] = False
    dtype: ClassVar[str] = ""
    tolerance: ClassVar[float] = 0.0
    needs: ClassVar[str] = (
        "Quantized weights need the package `compressed-tensors` beside transformers; hf_compress itself is not needed."
    )

    def chosen(self, quantized: bool) -> "ExportFormat":
        """The format that a run ends in; this one, unless it leaves the choice to the run.

        Args:
            quantized: whether the run quantizes.
        """
        return self

    def mistake(self, quantized: bool) -> str:
        """Why a run cannot end in this format, and what to write instead; empty where it can.

        Args:
            quantized: whether the run quantizes.
        """
        return ""

    def holds(self, module: nn.Module, scheme: "QuantizationScheme") -> str:
        """Why it cannot hold the quantized weight of a module; empty where it can.

        Args:
            module: plain or prepared, of any kind that can be trained quantized.
            scheme: its own.
        """
        return f"{self.name} does not say that it holds quantized weights"

    def write(
        self,
        model: PreTrainedModel,
        folder: Path,
        processor: Any = None,
        example: Mapping[str, Any] | None = None,
        place: Path | None = None,
    ) -> None:
        """Write the checkpoint into a folder that exists, and refuse it where it does not load as what the model is.

        Args:
            model: finished: cast, pruned, converted; stays as it is.
            folder: where to write.
            processor: tokenizer or image processor to write beside it.
            example: a batch for `model(**example)` whose outputs are compared; by default one made from the config.
            place: how refusals call the folder.

        Raises:
            CompressionError: the model cannot be written so, or what was written is not the model.
        """
        raise TypeError(f"{type(self).__name__} defines no write()")

    def save(
        self,
        model: PreTrainedModel,
        folder: str | Path,
        processor: Any = None,
        example: Mapping[str, Any] | None = None,
    ) -> Path:
        """The same into a new folder, which appears only when everything is written and loaded back.

        Raises:
            CompressionError: see `write`, or the folder exists; nothing is left then.
        """
        with written_beside(Path(folder)) as part:
            self.write(model, part, processor, example, place=Path(folder))
        return Path(folder)

    def load(self, cls: Any, folder: Path) -> Any:
        """The model as those who use the checkpoint load it.

        Args:
            cls: its class, or an auto class of transformers.
            folder: what `write` wrote.
        """
        with loading_whole():
            return cls.from_pretrained(folder, trust_remote_code=False)

    def weight_files(self, folder: Path) -> list[Path]:
        """The files that hold the weights, sorted: what the report weighs."""
        return weight_files(folder)

    def usage(self, model: str, processor: str | None) -> str:
        """The lines of Python that load the folder, for the card; empty where it is `from_pretrained` of transformers.

        Args:
            model: the name of its class, or of an auto class of transformers.
            processor: the same; None without one.
        """
        return ""


def every_format() -> list[ExportFormat]:
    """The formats that a quantized run could end in, each once."""
    return list(dict.fromkeys(form.chosen(quantized=True) for form in ExportFormat.members()))
