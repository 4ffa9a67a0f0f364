"""Models that write down what is said, in parallel: Whisper and its kin, one recording of their length at a time."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import AutomaticSpeechRecognitionPipeline
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.encoder import start_of
from hf_compress.ensembling.modelling.seq2seq import ParallelEnsembleForSeq2SeqLM

_OF_PROMPT = (
    *("language", "task", "return_timestamps"),
    *("lang_to_id", "task_to_id", "no_timestamps_token_id", "forced_decoder_ids"),
)
"""What a generation config says of prompts."""
DETECTED = -1
"""In a prompt: the language, which is to be heard."""


class ParallelEnsembleForSpeechSeq2Seq(ParallelEnsembleForSeq2SeqLM):
    """Members with one tokenizer, of any sizes; `generate` begins with Whisper's prompt, where members have one.

    The prompt is: start, language, task, no timestamps. A language that nobody names is the likeliest one that the members
    hear together. Tokens that the generation config suppresses are.

    Source of the prompt: Radford et al. (2022), Robust Speech Recognition via Large-Scale Weak Supervision, section 2.3.
    """

    for_heads = ("AutoModelForSpeechSeq2Seq",)
    pipelines: ClassVar[Mapping[str, str]] = {"automatic-speech-recognition": "EnsembleSpeechRecognition"}

    def generate(self, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        """As `GenerationMixin.generate`; what comes back begins with the prompt.

        Args:
            inputs: (B, F, T) features, or samples, of recordings that each fit into the members at once.
            *args: of `GenerationMixin.generate`, by their place.
            **kwargs: of `GenerationMixin.generate`, with `language` ("en", "english") and `task` ("transcribe").

        Raises:
            CompressionError: a recording is too long, timestamps are asked for, or members know no such language or task.
        """
        given = kwargs.get("generation_config") or (args[0] if args else None)
        # A config of one call names what it changes; the rest is the ensemble's.
        found = {name: [getattr(one, name, None) for one in (given, self.generation_config)] for name in _OF_PROMPT}
        config = SimpleNamespace(**{name: own if first is None else first for name, (first, own) in found.items()})
        asked: dict[str, Any] = {name: kwargs.pop(name, None) for name in ("language", "task", "return_timestamps")}
        asked = {name: getattr(config, name) if one is None else one for name, one in asked.items()}
        if asked.pop("return_timestamps"):
            raise CompressionError(
                "return_timestamps: an ensemble writes words and not when they are said; leave it out, or set it to"
                " False in the generation config"
            )
        self._refuse_long(inputs, kwargs)
        if "decoder_input_ids" not in kwargs:
            prompt: list[Any] = prompt_of(config, start_of(self), **asked)
            if DETECTED in prompt:
                self._encode_first(inputs, kwargs)
                inputs = None
                prompt[prompt.index(DETECTED)] = self._heard(kwargs["encoder_outputs"], sorted(config.lang_to_id.values()))
            rows = kwargs["encoder_outputs"].last_hidden_state if "encoder_outputs" in kwargs else inputs
            rows = kwargs.get(self.main_input_name) if rows is None else rows
            if len(prompt) > 1 and rows is not None:
                kwargs["decoder_input_ids"] = torch.stack(
                    [torch.as_tensor(token, device=self.device).expand(len(rows)) for token in prompt], dim=1
                )
        return super().generate(inputs, *args, **kwargs)

    def _encode_first(self, inputs: Tensor | None, kwargs: dict[str, Any]) -> None:
        """Ask the encoders before `generate` would; in `kwargs` their output takes the place of what they read."""
        if kwargs.get("encoder_outputs") is None:
            given = kwargs.pop(self.main_input_name, None)
            read = {self.main_input_name: inputs if given is None else given}
            with torch.no_grad():
                kwargs["encoder_outputs"] = self.get_encoder()(attention_mask=kwargs.get("attention_mask"), **read)

    def _refuse_long(self, inputs: Tensor | None, kwargs: Mapping[str, Any]) -> None:
        """Whisper reads a spectrogram of one length, two of whose columns become one position."""
        given = kwargs.get("input_features", inputs)
        for name, member in zip(self.config.names, self.members, strict=True):
            own: Any = member.config
            most = 2 * own.max_source_positions if own.model_type == "whisper" else None
            if most is not None and isinstance(given, Tensor) and given.dim() == 3 and given.shape[-1] > most:
                raise CompressionError(
                    f"the recordings have {given.shape[-1]} frames, and member {name!r} hears {most} at once; cut them into"
                    " pieces, an ensemble does not do it"
                )

    def _heard(self, encoder_outputs: Any, languages: list[int]) -> Tensor:
        """(B,) the likeliest of the languages' tokens."""
        states = encoder_outputs.last_hidden_state
        first = torch.full((len(states), 1), int(start_of(self) or 0), device=self.device)
        with torch.no_grad():
            logits = self(encoder_outputs=encoder_outputs, decoder_input_ids=first).logits[:, -1]
        among = torch.tensor(languages, device=logits.device)
        return among[logits[:, among].argmax(-1)]


def prompt_of(config: Any, start: int | None, language: str | None, task: str | None) -> list[int]:
    """The tokens that a text begins with: start, language, task, no timestamps; `DETECTED` for a language nobody named.

    Args:
        config: of generation, with `lang_to_id`, `task_to_id`, `no_timestamps_token_id` or the older `forced_decoder_ids`.
        start: of the decoder.
        language: a token, a code or a name.
        task: "transcribe" or "translate".

    Raises:
        CompressionError: the members know no such language or task, or the forced tokens leave a place out.
    """
    languages, tasks = getattr(config, "lang_to_id", None) or {}, getattr(config, "task_to_id", None) or {}
    prompt = [] if start is None else [start]
    forced = getattr(config, "forced_decoder_ids", None) or []
    if language is None and task is None and forced:
        if [place for place, _ in forced] != list(range(1, len(forced) + 1)):
            raise CompressionError(f"forced_decoder_ids={forced!r} of the generation config must name the places 1, 2, ...")
        prompt += [DETECTED if token is None else token for _, token in forced]
        if not languages:
            prompt = [token for token in prompt if token != DETECTED]
    elif language is not None:
        prompt.append(_language_id(language, languages))
    elif languages:
        prompt.append(DETECTED)
    if task is not None and task not in tasks:
        raise CompressionError(
            f"task={task!r}: the members know {', '.join(tasks) or 'no tasks'}; leave it out or take one"
        )
    if task is not None or (language is not None and "transcribe" in tasks):
        prompt.append(tasks[task or "transcribe"])
    last = getattr(config, "no_timestamps_token_id", None)
    return prompt if last is None or prompt[-1] == last else [*prompt, last]


def _language_id(language: str, languages: Mapping[str, int]) -> int:
    code = TO_LANGUAGE_CODE.get(str(language).lower(), str(language).lower())
    token = code if code in languages else f"<|{code}|>"
    if token not in languages:
        known = ", ".join(sorted(languages)[:5]) or "none"
        raise CompressionError(f"language={language!r}: the members' languages are {known}; leave it out or take one")
    return languages[token]


class EnsembleSpeechRecognition(AutomaticSpeechRecognitionPipeline):
    """The pipeline of transformers for an ensemble that writes down what is said.

    The stock one knows such models by a list of class names, and takes others to answer frame by frame.
    """

    def __init__(self, model: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(model, *args, **kwargs)
        self.type = "seq2seq"
