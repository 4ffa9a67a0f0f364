"""An ensemble as a model of transformers: one config, one folder, members in subfolders or on the Hub."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_compress._errors import CompressionError
from hf_compress.ensembling.combiner import Combiner
from hf_compress.ensembling.modelling.checks import check_groups, check_heads, check_names
from hf_compress.ensembling.modelling.config import EnsembleConfig
from hf_compress.ensembling.modelling.heads import BY_LABELS, head_of
from hf_compress.ensembling.modelling.inputs import readable, refuse_missing, split_inputs
from hf_compress.ensembling.modelling.labels import label_orders
from hf_compress.ensembling.modelling.places import (
    KINDS,
    default_names,
    facts_of,
    generation_config_at,
    load_member,
    loader,
    member_place,
    pinned,
    place_of,
)
from hf_compress.ensembling.modelling.processors import group_processors, joined_processor, load_processor
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
)
"""What an ensemble's config takes over from its first member's."""


class Ensemble(PreTrainedModel):
    """What ensembles of all kinds share: members, their inputs, loading and saving.

    Attributes:
        members: the models, in the config's order.
        processor: tokenizer, image processor or feature extractor that is saved with it; None where the members had none.
        for_heads: Auto classes of the heads that this class is for, where a kind has several classes.
        pipelines: task -> class of this code, where transformers' own pipeline does not know such a model.
    """

    config_class = EnsembleConfig
    config: EnsembleConfig
    for_heads: ClassVar[tuple[str, ...]] = ()
    pipelines: ClassVar[Mapping[str, str]] = {}
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
        self.add_own_parts()
        # Before the members are in it: it would give them fresh weights.
        self.post_init()
        if members is None:
            members = [_fresh(config, one) for one in config.member_configs()]
        self.members = nn.ModuleList(members)
        configs = [member.config for member in self.members]
        by_labels = config.auto_class in BY_LABELS and len(config.id2label or ()) > 1
        self._orders = label_orders(configs, config.names) if by_labels else [None] * len(configs)

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
        different, groups = group_processors(own, named)
        check_groups(groups, heads[0], named)
        first = loaded[0].config.to_dict()
        config = cls.config_class(
            members=[facts_of(*facts) for facts in zip(named, loaded, places, strict=True)],
            auto_class=heads[0],
            combiner=_plain_combiner(combiner),
            input_groups=groups,
            **{key: first[key] for key in _OF_FIRST if key in first},
            **options,
        )
        made = cls.kind_for(heads[0])(config, loaded)
        made.processor = joined_processor(different)
        return made.eval()  # type: ignore[no-any-return]

    @classmethod
    def kind_for(cls, auto_class: str) -> Any:
        """The class of this kind for members with that head."""
        return next((kind for kind in KINDS if issubclass(kind, cls) and auto_class in kind.for_heads), cls)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """The ensemble that `save_pretrained` wrote, or that lies on the Hub.

        Takes what `PreTrainedModel.from_pretrained` takes; `dtype`, `device_map` and what else is for weights goes to every
        member.

        Raises:
            CompressionError: a member is missing or cannot be loaded, or `quantization_config` is given.
        """
        if kwargs.get("quantization_config") is not None:
            raise CompressionError("an ensemble is not quantized while it is loaded; quantize its members before")
        with_info = kwargs.pop("output_loading_info", False)
        config, subfolder = kwargs.pop("config", None), kwargs.pop("subfolder", None) or ""
        hub = {key: kwargs.pop(key) for key in _HUB if key in kwargs}
        options = {key: value for key, value in kwargs.items() if key not in _OF_AUTO}
        path = pretrained_model_name_or_path
        if not isinstance(config, EnsembleConfig):
            config = cls.config_class.from_pretrained(path, subfolder=subfolder, trust_remote_code=False, **hub)
        loaded = [
            load_member(
                facts["name"],
                member_place(path, subfolder, facts, hub),
                config.auto_class,
                output_loading_info=True,
                **options,
            )
            for facts in config.members or []
        ]
        made = cls.kind_for(config.auto_class or "")(config, [model for model, _ in loaded])
        place = {"model": path, "subfolder": subfolder, **hub}
        made.load_own_parts(place)
        if made.can_generate():
            made.generation_config = generation_config_at(place) or made.generation_config
        joined = len(set(config.input_groups or ())) > 1
        made.processor = load_processor(place, str(config.auto_class), config, joined)
        made.name_or_path = config.name_or_path = str(path)
        made.eval()
        return (made, _joined([info for _, info in loaded])) if with_info else made

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
            {
                key: value.to(self.device_of(member)) if isinstance(value, Tensor) else value
                for key, value in readable(member, split[group]).items()
            }
            for member, group in zip(self.members, groups, strict=True)
        ]

    @staticmethod
    def device_of(member: Any) -> torch.device:
        """Where a member's weights are."""
        return member.device  # type: ignore[no-any-return]

    def ordered(self, logits: Tensor, member: int) -> Tensor:
        """A member's logits (..., C) in the ensemble's order of labels, on the ensemble's device."""
        order = self._orders[member]
        own = logits if order is None else logits[..., order]
        return own.to(self.device)

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


def _plain_combiner(combiner: str | Mapping[str, Any] | Combiner) -> dict[str, Any]:
    """A combiner as a config holds it; it is made once, so that a wrong one is refused here."""
    if isinstance(combiner, Combiner):
        return {"name": combiner.name, **vars(combiner)}
    plain = {"name": combiner} if isinstance(combiner, str) else dict(combiner)
    if "name" not in plain:
        raise CompressionError(f"combiner={plain!r} has no name; write {{name: mean_probabilities}}")
    Combiner.create(**plain)
    return plain


def _joined(infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What loading said of all members, each key with its member's place before it."""
    joined: dict[str, Any] = {}
    for place, info in enumerate(infos):
        for kind, found in info.items():
            if isinstance(found, set | list):
                joined.setdefault(kind, []).extend(f"members.{place}.{key}" for key in sorted(map(str, found)))
    return joined
