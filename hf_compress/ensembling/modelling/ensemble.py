"""An ensemble as a model of transformers: one config, one folder, members in subfolders or on the Hub."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_compress._errors import CompressionError
from hf_compress.ensembling.combiner import Combiner
from hf_compress.ensembling.modelling.checks import check_groups, check_heads, check_names
from hf_compress.ensembling.modelling.config import EnsembleConfig, plain_combiner
from hf_compress.ensembling.modelling.execution import Asking, Execution
from hf_compress.ensembling.modelling.heads import BY_LABELS, BY_TOKEN, head_of
from hf_compress.ensembling.modelling.inputs import placed, readable, refuse_missing, split_inputs
from hf_compress.ensembling.modelling.labels import LabelOrders, label_orders
from hf_compress.ensembling.modelling.places import (
    KINDS,
    config_like,
    default_names,
    facts_of,
    generation_config_at,
    joined_infos,
    load_member,
    loader,
    member_place,
    pinned,
    place_of,
)
from hf_compress.ensembling.modelling.processors import (
    group_processors,
    joined_processor,
    load_processor,
    same_processor,
    same_tokens,
)
from hf_compress.ensembling.modelling.saving import save_ensemble, upload

_HUB = ("cache_dir", "force_download", "local_files_only", "token", "revision", "proxies")
_OF_AUTO = ("_from_auto", "adapter_kwargs", "state_dict", "trust_remote_code", "_commit_hash", "code_revision")
_OF_FIRST = (
    "id2label",
    "label2id",
    "problem_type",
    "vocab_size",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "is_encoder_decoder",
    *("conv_kernel", "conv_stride", "add_adapter", "num_adapter_layers", "adapter_stride"),
    *("ctc_loss_reduction", "ctc_zero_infinity"),
)
"""What an ensemble's config takes over from its first member's: labels, tokens, and how samples of sound become frames."""


class Ensemble(Execution, PreTrainedModel):
    """What ensembles of all kinds share: members, their inputs, loading and saving.

    Attributes:
        members: the models, in the config's order.
        processor: tokenizer, image processor or feature extractor that is saved with it; None where the members had none.
        for_heads: Auto classes of the heads that this class is for, where a kind has several classes.
        pipelines: task -> class of this code, where transformers' own pipeline does not know such a model.
        by_text: members read the same text, each by its own tokenizer, and not the ensemble's tokens.
    """

    config_class = EnsembleConfig
    config: EnsembleConfig
    for_heads: ClassVar[tuple[str, ...]] = ()
    pipelines: ClassVar[Mapping[str, str]] = {}
    by_text: ClassVar[bool] = False
    base_model_prefix = "ensemble"
    accepts_loss_kwargs = False
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        KINDS.append(cls)

    def __init__(self, config: EnsembleConfig, members: Sequence[nn.Module] | None = None) -> None:
        """An ensemble of `members`, or of members with fresh weights, as its config describes them."""
        super().__init__(config)
        self.processor: Any = None
        self.asking = Asking()
        self.add_own_parts()
        # Before the members are in it: it would give them fresh weights.
        self.post_init()
        if members is None:
            members = [_fresh(config, one) for one in config.member_configs()]
        self.members = nn.ModuleList(members)
        configs = [member.config for member in self.members]
        by_labels = config.auto_class in BY_LABELS and len(config.id2label or ()) > 1
        self.orders = LabelOrders(label_orders(configs, config.names) if by_labels else [None] * len(configs))

    def add_own_parts(self) -> None:
        """Where a kind of ensemble makes parts of its own; asked before members are there."""

    @classmethod
    def from_members(
        cls,
        members: Sequence[Any],
        *,
        names: Sequence[str] | None = None,
        auto_class: str | None = None,
        processors: Sequence[Any] | None = None,
        combiner: str | Mapping[str, Any] | Combiner = "mean_probabilities",
        dtype: Any = "auto",
        **options: Any,
    ) -> Self:
        """An ensemble of trained models, in evaluation mode.

        Args:
            members: folders, Hub ids, `{"model": id, "revision": commit}` or loaded models, at least two.
            names: of the members, for messages and reports; by default those of folders, repositories or models.
            auto_class: of their heads; read from the members where it is None.
            processors: of loaded models, one each: tokenizer, image processor or feature extractor. Folders bring theirs.
            combiner: how answers become one: a name, a mapping with arguments, or a `Combiner`.
            dtype: that folders and Hub ids are loaded with.
            options: fields of the config: weights, temperatures, on_nan and those of the kind.

        Raises:
            CompressionError: members do not go together, or one cannot be loaded; nothing was computed.
        """
        places = [None if place is None else pinned(place) for place in map(place_of, members)]
        named = [str(name) for name in names] if names is not None else default_names(members, places)
        check_names(named, len(members))
        loaded = [
            member if place is None else load_member(name, place, auto_class, dtype=dtype)
            for name, member, place in zip(named, members, places, strict=True)
        ]
        heads = [auto_class or head_of(model) for model in loaded]
        check_heads(loaded, heads, named)
        own = list(processors) if processors is not None else [None] * len(loaded)
        if len(own) != len(loaded):
            raise CompressionError(f"{len(own)} processors for {len(loaded)} members; give one each")
        own = [
            load_processor(place, heads[0]) if processor is None and place else processor
            for processor, place in zip(own, places, strict=True)
        ]
        different, groups = group_processors(own, named, same_tokens if heads[0] == BY_TOKEN else same_processor)
        check_groups(groups, heads[0], named)
        first, kind = loaded[0].config.to_dict(), cls.kind_for(heads[0], groups)
        config = kind.config_class(
            members=[facts_of(*facts) for facts in zip(named, loaded, places, strict=True)],
            auto_class=heads[0],
            combiner=plain_combiner(combiner),
            input_groups=groups,
            **{key: first[key] for key in _OF_FIRST if key in first},
            **options,
        )
        made = kind(config, loaded)
        made.take_processors(own if made.by_text else different)
        return made.eval()  # type: ignore[no-any-return]

    @classmethod
    def kind_for(cls, auto_class: str, groups: Sequence[int] | None = None) -> Any:
        """The class of this kind for members with that head, in these groups of tokenizers."""
        by_text = auto_class == BY_TOKEN and len(set(groups or ())) > 1
        kinds = (kind for kind in KINDS if issubclass(kind, cls) and auto_class in kind.for_heads)
        return next((kind for kind in kinds if kind.by_text == by_text), cls)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """The ensemble that `save_pretrained` wrote, or that lies on the Hub.

        Takes what `PreTrainedModel.from_pretrained` takes; `dtype`, `device_map` and what else is for weights goes to every
        member. `execution` is asked for in place of the config's.

        Raises:
            CompressionError: a member is missing or cannot be loaded, or `quantization_config` is given.
        """
        if kwargs.get("quantization_config") is not None:
            raise CompressionError("an ensemble is not quantized while it is loaded; quantize its members before")
        with_info, execution = kwargs.pop("output_loading_info", False), kwargs.pop("execution", None)
        config, subfolder = kwargs.pop("config", None), kwargs.pop("subfolder", None) or ""
        hub = {key: kwargs.pop(key) for key in _HUB if key in kwargs}
        options = {key: value for key, value in kwargs.items() if key not in _OF_AUTO}
        path = pretrained_model_name_or_path
        if not isinstance(config, EnsembleConfig):
            config = config_like(cls.config_class, path, {"subfolder": subfolder, **hub})
        places = [member_place(path, subfolder, facts, hub) for facts in config.members or []]
        loaded = [
            load_member(name, where, config.auto_class, output_loading_info=True, **options)
            for name, where in zip(config.names, places, strict=True)
        ]
        made = cls.kind_for(config.auto_class or "", config.input_groups)(config, [model for model, _ in loaded])
        place = {"model": path, "subfolder": subfolder, **hub}
        made.load_own_parts(place)
        if made.can_generate():
            made.generation_config = generation_config_at(place) or made.generation_config
        made.load_processors(place, places)
        made.name_or_path = config.name_or_path = str(path)
        made.eval()
        if execution is not None:
            made.set_execution(execution)
        return (made, joined_infos([info for _, info in loaded])) if with_info else made

    def take_processors(self, processors: Sequence[Any]) -> None:
        """The different processors of the members, which become the ensemble's.

        Raises:
            CompressionError: they cannot be joined.
        """
        self.processor = joined_processor(processors)

    def load_processors(self, place: dict[str, Any], places: Sequence[dict[str, Any]]) -> None:
        """Read the processor that lies beside the ensemble.

        Args:
            place: of the ensemble.
            places: of the members.
        """
        joined = len(set(self.config.input_groups or ())) > 1
        self.processor = load_processor(place, str(self.config.auto_class), self.config, joined)

    def save_own_parts(self, folder: Any, state_dict: dict[str, Any] | None) -> None:
        """Write the weights that are no member's."""

    def load_own_parts(self, place: dict[str, Any]) -> None:
        """Read the weights that are no member's."""

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Write config, members, processor and the code that loads them elsewhere.

        Args:
            save_directory: a folder.
            *args: of `PreTrainedModel.save_pretrained`, by their place.
            **kwargs: of `PreTrainedModel.save_pretrained`: is_main_process, state_dict, max_shard_size, push_to_hub (with
                repo_id and what `push_to_hub` takes). `references=True` writes no weights of members that came from the Hub
                at a known commit, but where they are.

        Raises:
            CompressionError: `references=True`, and a member has no commit on the Hub.
        """
        save_ensemble(self, save_directory, *args, **kwargs)

    def push_to_hub(self, repo_id: str, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Save it and bring it to the Hub in one commit.

        Args:
            repo_id: the repository, made where there is none.
            *args: none.
            **kwargs: commit_message, commit_description, private, token, revision, create_pr, and those of
                `save_pretrained`.
        """
        return upload(self, repo_id, *args, **kwargs)

    def member_inputs(self, inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What each member reads of what the ensemble was given, on the member's device."""
        groups = self.config.input_groups or []
        split = split_inputs({key: value for key, value in inputs.items() if value is not None}, set(groups))
        refuse_missing(split, self.config.names, groups)
        return [
            {key: placed(value, self.device_of(member)) for key, value in readable(member, split[group]).items()}
            for member, group in zip(self.members, groups, strict=True)
        ]

    def ordered(self, logits: Tensor, member: int) -> Tensor:
        """A member's logits (..., C) in the ensemble's order of labels, on the ensemble's device."""
        return self.orders(placed(logits, self.device), member)  # type: ignore[no-any-return]

    def combine(self, answers: Tensor, weights: Tensor | None = None) -> Tensor:
        """Members' logits as one row of log-probabilities.

        Args:
            answers: (M, ..., C), in the ensemble's order of labels.
            weights: (M,), in place of the config's.

        Returns:
            (..., C), fp32.
        """
        if self.config.temperatures is not None:
            scale = torch.tensor(self.config.temperatures, device=answers.device)
            answers = answers.float() / scale.view(-1, *[1] * (answers.dim() - 1))
        if weights is None and self.config.weights is not None:
            weights = torch.tensor(self.config.weights, device=answers.device)
        return self.combiner().combine(answers, weights)

    def combiner(self) -> Combiner:
        """What the config says answers are combined by."""
        arguments = dict(self.config.combiner or {})
        return Combiner.create(arguments.pop("name"), **arguments)

    @property
    def main_input_name(self) -> str:  # type: ignore[override]
        """The first member's."""
        return str(self.members[0].main_input_name) if len(getattr(self, "members", ())) else "input_ids"


def _fresh(config: EnsembleConfig, member: Any) -> Any:
    """A member with fresh weights."""
    kind = loader(str(config.auto_class), member)
    return kind(member) if kind in KINDS else kind.from_config(member, trust_remote_code=False)
