"""What data-aware methods must know of a model: its diagonal Fisher information, and the gram matrices of its layers."""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matching import match_modules
from hf_compress._modules.modes import evaluation_mode
from hf_compress._modules.names import canonical_name
from hf_compress._registry import unknown
from hf_compress.tasks.heads import shifts_labels

logger = logging.getLogger(__name__)

Labels = Literal["expected", "sampled", "true"]
"""Whose labels the Fisher is taken at; see `collect_fisher`."""

_IGNORED = -100


def collect_fisher(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    *,
    labels: Labels = "expected",
    shift: bool | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """F = 1/N sum_n E_y [(d log p(y | x_n) / d theta)^2], the exact diagonal: squares of every example's own gradient.

    With labels "expected" the expectation over y is a sum over the classes, p(c | x) times the squared gradient of log
    p(c | x): one backward pass per class. "sampled" draws one y per example (per token for token models) from the model.
    "true" takes the data's labels, the empirical Fisher. An example of a token model has the sum of its tokens' log
    probabilities, each given the true tokens before it.

    Runs in evaluation mode, one example at a time; every example is cut out of its batch, so pad batches little. All
    floating-point parameters get a Fisher, frozen ones too; the model ends as it was.

    Args:
        model: a transformers model with a head for classification or tokens, whose output has `logits`.
        batches: keyword arguments of the model, (B, ...) tensors; with `labels` (B,) or (B, T), -100 = no label, for
            "true" and for token models, where they say which tokens count.
        labels: whose y. "expected" is for classifiers only.
        shift: token t is predicted from the tokens before t; None = for the causal language models of transformers.
        seed: of "sampled".

    Returns:
        Parameter name -> fp32 tensor of its shape, in squared nats per squared parameter. A shared parameter comes once.

    Raises:
        CompressionError: there are no examples or labels, the output has no logits, or "expected" for a token model; the
            result is not finite.

    Source: Matena and Raffel 2022, the diagonal of the Fisher information and its expectation over y.
    """
    if labels not in get_args(Labels):
        raise CompressionError(unknown("labels", labels, get_args(Labels)))
    generator = torch.Generator().manual_seed(seed)
    shifted = shifts_labels(model) if shift is None else shift
    parameters = {name: one for name, one in model.named_parameters() if one.is_floating_point()}
    fisher = {name: torch.zeros_like(one, dtype=torch.float32, requires_grad=False) for name, one in parameters.items()}
    num_examples = num_terms = 0
    with evaluation_mode(model), _all_trainable(parameters.values()), torch.enable_grad():
        for batch in batches:
            for number in range(_batch_size(batch)):
                example = {key: value[number : number + 1] for key, value in batch.items()}
                for factor, term in _log_likelihoods(model, example, labels, shifted, generator):
                    # Earlier terms of the same example share the graph; it is freed with the last reference to it.
                    gradients = torch.autograd.grad(term, list(parameters.values()), retain_graph=True, allow_unused=True)
                    for total, gradient in zip(fisher.values(), gradients, strict=True):
                        if gradient is not None:
                            total.addcmul_(gradient.float(), gradient.float(), value=factor)
                    num_terms += 1
                num_examples += 1
    if not num_examples:
        raise CompressionError("batches is empty; a Fisher needs examples")
    if not num_terms:
        raise CompressionError(
            f"no example has a label in {num_examples}; give longer texts, or labels that are not {_IGNORED}"
        )
    _check_finite("Fisher", fisher)
    return {canonical_name(name): total.div_(num_examples) for name, total in fisher.items()}


def collect_gram(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    modules: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
) -> dict[str, Tensor]:
    """G = X^T X / N for the inputs X (N, I) of each layer, over all tokens that are not padding.

    Args:
        model: runs in evaluation mode, without gradients.
        batches: keyword arguments of the model; `attention_mask` and `decoder_attention_mask` (B, T) leave padding out.
        modules: targets as in `pruning.targets` (class names, module names, `re:` patterns) of modules with a weight
            matrix; None = every Linear and Conv1D whose weight is not shared with an embedding.
        ignore: the same syntax; wins over `modules`.

    Returns:
        Weight name -> (I, I) fp32, accumulated in fp64. Layers that no batch reached are left out, with a warning.

    Raises:
        CompressionError: nothing matches, there are no batches, or an encoder's and a decoder's mask have the same shape
            but differ, so that it is unclear which one belongs to a layer; the result is not finite.

    Source: Jin et al. 2023, the inner product matrices of RegMean, here per token so that all members weigh the same.
    """
    chosen = _linear_modules(model) if modules is None else match_modules(model, modules, (), "collect_gram")
    if ignore:
        kept = match_modules(model, list(chosen), ignore, "collect_gram")
        chosen = {name: module for name, module in chosen.items() if name in kept}
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(chosen, 0)
    masks: list[Tensor] = []

    def observe(name: str, inputs: tuple[Any, ...]) -> None:
        rows = _rows(name, inputs[0].detach(), masks)
        if not len(rows):
            return
        product = (rows.float().T @ rows.float()).double()
        sums[name] = sums[name].add_(product) if name in sums else product
        counts[name] += len(rows)

    def hook_of(name: str) -> Any:
        return lambda module, inputs: observe(name, inputs)

    hooks = [module.register_forward_pre_hook(hook_of(name)) for name, module in chosen.items()]
    num_batches = 0
    try:
        with evaluation_mode(model), torch.no_grad():
            for batch in batches:
                masks[:] = _masks(model, batch)
                model(**batch)
                num_batches += 1
    finally:
        for hook in hooks:
            hook.remove()
    if not num_batches:
        raise CompressionError("batches is empty; gram matrices need inputs")
    unreached = [name for name in chosen if not counts[name]]
    if unreached:
        logger.warning("no gram matrix for %d layers that no batch reached, e.g. %s", len(unreached), unreached[0])
    _check_finite("gram matrix", sums)
    return {f"{name}.weight": (total / counts[name]).float() for name, total in sums.items()}


def _check_finite(what: str, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CompressionError(
                f"the {what} of {name} holds NaN or infinity; look for it in the model's weights and inputs"
            )


def _log_likelihoods(
    model: nn.Module, example: Mapping[str, Tensor], labels: Labels, shifted: bool, generator: torch.Generator
) -> Iterator[tuple[float, Tensor]]:
    """(probability, log p(y | x)) for the labels y of one example."""
    inputs = {key: value for key, value in example.items() if key != "labels"}
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False) and "labels" in example:
        inputs["labels"] = example["labels"]  # the decoder's inputs are made from them
    logits = getattr(model(**inputs), "logits", None)
    if not isinstance(logits, Tensor):
        raise CompressionError("the model's output has no logits, so there is no Fisher; use a model with a head")
    logs = logits.float().log_softmax(-1)[0]
    if logs.dim() == 1:
        problem = getattr(getattr(model, "config", None), "problem_type", None)
        if len(logs) == 1 or problem in ("regression", "multi_label_classification"):
            raise CompressionError(
                f"{type(model).__name__} does not choose one of several classes, and Fishers here are for that"
            )
        if labels == "expected":
            for log in logs:
                yield float(log.detach().exp()), log
        elif labels == "sampled":
            yield 1.0, logs[int(torch.multinomial(logs.detach().exp().cpu(), 1, generator=generator))]
        else:
            label = int(_given(example)[0])
            if label != _IGNORED and not 0 <= label < len(logs):
                raise CompressionError(
                    f"label {label} is none of the {len(logs)} classes of {type(model).__name__}; leave such examples out,"
                    " or write 'expected' or 'sampled'"
                )
            if label != _IGNORED:
                yield 1.0, logs[label]
        return
    if labels == "expected":
        raise CompressionError(
            f"labels='expected' sums over the classes of a classifier, and {type(model).__name__} predicts tokens; write"
            " 'sampled' or 'true'"
        )
    targets = _given(example)[0].to(logs.device)
    if shifted:
        logs, targets = logs[:-1], targets[1:]
    kept = targets != _IGNORED
    logs, targets = logs[kept], targets[kept]
    if labels == "sampled" and len(targets):
        targets = torch.multinomial(logs.detach().exp().cpu(), 1, generator=generator)[:, 0].to(logs.device)
    if len(targets):
        yield 1.0, logs.gather(1, targets[:, None]).sum()


def _given(example: Mapping[str, Tensor]) -> Tensor:
    if "labels" not in example:
        raise CompressionError("a batch has no labels; add them, or for a classifier take labels='expected' or 'sampled'")
    return example["labels"]


def _batch_size(batch: Mapping[str, Tensor]) -> int:
    sizes = {len(value) for value in batch.values()}
    if len(sizes) != 1:
        raise CompressionError(f"the tensors of a batch have {sorted(sizes)} examples; each needs the same first dimension")
    return sizes.pop()


@contextlib.contextmanager
def _all_trainable(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Gradients for frozen parameters too, inside the `with` block."""
    frozen = [one for one in parameters if not one.requires_grad]
    for one in frozen:
        one.requires_grad_(True)
    try:
        yield
    finally:
        for one in frozen:
            one.requires_grad_(False)


def _linear_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Linear and Conv1D by name, without those whose weight is an embedding's."""
    embedded = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return {
        canonical_name(name): module
        for name, module in model.named_modules()
        if (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D") and id(module.weight) not in embedded
    }


def _masks(model: nn.Module, batch: Mapping[str, Tensor]) -> list[Tensor]:
    """The encoder's and the decoder's mask; a decoder without one has no padding."""
    masks = [batch[key].bool() for key in ("attention_mask", "decoder_attention_mask") if key in batch]
    inputs = batch.get("decoder_input_ids", batch.get("labels"))
    separate = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    if separate and "decoder_attention_mask" not in batch and inputs is not None:
        masks.append(torch.ones_like(inputs, dtype=torch.bool))
    return masks


def _rows(name: str, inputs: Tensor, masks: Sequence[Tensor]) -> Tensor:
    """(..., I) -> (N, I) without padding; inputs that no mask fits, such as pooled ones, are kept whole."""
    leading = inputs.shape[:-1]
    fitting = [mask for mask in masks if tuple(mask.shape) == tuple(leading) or (mask.numel(),) == tuple(leading)]
    if len(fitting) == 2 and not torch.equal(*fitting):
        raise CompressionError(
            f"{name}: the masks of the encoder and the decoder have the same shape {tuple(fitting[0].shape)} and differ, so"
            " it is unclear which one it needs; pad one of the two further, e.g. with pad_to_multiple_of"
        )
    rows = inputs.reshape(-1, inputs.shape[-1])
    return rows[fitting[0].reshape(-1).to(rows.device)] if fitting else rows
