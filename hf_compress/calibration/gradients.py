"""Statistics of gradients, observed one example at a time."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._modules.names import canonical_name
from hf_compress.calibration.statistic import GradientStatistic
from hf_compress.calibration.totals import Totals
from hf_compress.tasks.heads import shifts_labels

_IGNORED = -100


class ObservedGradients:
    """The gradients of some parameters, seen by one statistic.

    Args:
        model: a transformers model with a head for classification or tokens, whose output has `logits`.
        parameters: by name; frozen ones too.
        statistic: says whose labels the gradients are taken at.
    """

    def __init__(self, model: nn.Module, parameters: Mapping[str, nn.Parameter], statistic: GradientStatistic) -> None:
        self._model, self._parameters, self._statistic = model, dict(parameters), statistic
        self._shifted = shifts_labels(model) if statistic.shift is None else statistic.shift
        rank, _ = _distributed.membership()  # processes draw for different examples
        self._generator = torch.Generator().manual_seed((statistic.seed or 0) + rank)
        self.totals = Totals(statistic=statistic)
        self.num_examples = self.num_terms = 0

    def observe(self, batch: Mapping[str, Tensor]) -> None:
        """Every example of a batch, each cut out of it, so pad batches little.

        Raises:
            CompressionError: no logits or labels, or "expected" for a token model.
        """
        names, parameters = list(self._parameters), list(self._parameters.values())
        with _all_trainable(parameters), torch.enable_grad():
            for number in range(_batch_size(batch)):
                example = {key: value[number : number + 1] for key, value in batch.items()}
                for weight, term in self._log_likelihoods(example):
                    # Earlier terms of the same example share the graph; it is freed with the last reference to it.
                    gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
                    for name, gradient in zip(names, gradients, strict=True):
                        if gradient is not None:
                            self._add(name, gradient, weight)
                    self.num_terms += 1
                self.num_examples += 1

    def _add(self, name: str, gradient: Tensor, weight: float) -> None:
        self.totals.sums[name] = self._statistic.observe(gradient, weight, self.totals.sums.get(name))

    def close(self) -> None:
        """Count the examples for every parameter; one that no example used has a gradient of zero.

        Raises:
            CompressionError: no example had a label.
        """
        if self.num_examples and not self.num_terms:
            raise CompressionError(
                f"no example has a label in {self.num_examples}; give longer texts, or labels that are not {_IGNORED}"
            )
        if not self.num_examples:
            return
        for name, parameter in self._parameters.items():
            if name not in self.totals.sums:
                self._add(name, torch.zeros_like(parameter, requires_grad=False), 1.0)
            self.totals.counts[name] = self.num_examples

    def _log_likelihoods(self, example: Mapping[str, Tensor]) -> Iterator[tuple[float, Tensor]]:
        """(probability, log p(y | x)) for the labels y of one example."""
        model, labels = self._model, self._statistic.labels or self._statistic.usual_labels
        config = getattr(model, "config", None)
        inputs = {key: value for key, value in example.items() if key != "labels"}
        if getattr(config, "is_encoder_decoder", False) and "labels" in example:
            inputs["labels"] = example["labels"]  # the decoder's inputs are made from them
        logits = getattr(model(**inputs), "logits", None)
        if not isinstance(logits, Tensor):
            raise CompressionError(
                f"the model's output has no logits, so there is no {self._statistic.name}; use a model with a head"
            )
        logs = logits.float().log_softmax(-1)[0]
        if logs.dim() == 1:
            return self._of_classes(logs, example, labels or "expected", getattr(config, "problem_type", None))
        if labels == "expected":
            raise CompressionError(
                f"labels='expected' sums over the classes of a classifier, and {type(model).__name__} predicts tokens;"
                " write 'sampled' or 'true'"
            )
        return self._of_tokens(logs, example, labels or "sampled")

    def _of_classes(
        self, logs: Tensor, example: Mapping[str, Tensor], labels: str, problem: str | None
    ) -> Iterator[tuple[float, Tensor]]:
        """Of log probabilities (C,)."""
        name = type(self._model).__name__
        if len(logs) == 1 or problem in ("regression", "multi_label_classification"):
            raise CompressionError(
                f"{name} does not choose one of several classes, and {self._statistic.name} is for models that do"
            )
        if labels == "expected":
            for log in logs:
                yield float(log.detach().exp()), log
        elif labels == "sampled":
            yield 1.0, logs[int(self._drawn(logs))]
        else:
            label = int(_given(example)[0])
            if label != _IGNORED and not 0 <= label < len(logs):
                raise CompressionError(
                    f"label {label} is not one of the {len(logs)} classes of {name}; leave such examples out,"
                    " or write 'expected' or 'sampled'"
                )
            if label != _IGNORED:
                yield 1.0, logs[label]

    def _of_tokens(self, logs: Tensor, example: Mapping[str, Tensor], labels: str) -> Iterator[tuple[float, Tensor]]:
        """Of log probabilities (T, V)."""
        targets = _given(example)[0].to(logs.device)
        if self._shifted:
            logs, targets = logs[:-1], targets[1:]
        kept = targets != _IGNORED
        logs, targets = logs[kept], targets[kept]
        if labels == "sampled" and len(targets):
            targets = self._drawn(logs)[:, 0].to(logs.device)
        if len(targets):
            yield 1.0, logs.gather(1, targets[:, None]).sum()

    def _drawn(self, logs: Tensor) -> Tensor:
        """(..., C) log probabilities -> (..., 1), one of the C for each.

        Raises:
            CompressionError: they are not finite.
        """
        shares = logs.detach().exp().cpu()
        if not bool(torch.isfinite(shares).all()):
            raise CompressionError(
                f"the outputs of the model hold NaN or infinity, so no label can be drawn for {self._statistic.name}; look"
                " for it in the model's weights and inputs"
            )
        return torch.multinomial(shares, 1, generator=self._generator)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """All floating-point parameters by canonical name; a shared one comes once."""
    return {canonical_name(name): one for name, one in model.named_parameters() if one.is_floating_point()}


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
