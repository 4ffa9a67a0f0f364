"""Greedy soup: average only the models that help."""

from collections.abc import Callable, Mapping

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.source import Source
from hf_compress.merging.engine.in_memory import Tensors, merge_state_dicts
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.search.coefficients import Coefficients, Found


def greedy_soup(members: Mapping[str, Source | Tensors], evaluate: Callable[[dict[str, Tensor]], float]) -> Found:
    """Start from the best model, try the others from best to worst, keep each whose average with the kept is not worse.

    The result is never worse than the best single model on the data behind `evaluate`, so take a held-out split that is
    neither the training data nor the one a result is reported on. Takes 2 M - 1 evaluations.

    Args:
        members: label -> state dict or checkpoint of models fine-tuned from the same start, with equal names and shapes.
        evaluate: the score of a state dict, higher is better; `on_model(model, metric)` makes one from a model.

    Returns:
        Weight 1 for those in the soup and 0 for the others, with `Linear`, which averages. The history holds every trial
        as {label: weight}.

    Raises:
        CompressionError: there are no members, they differ in names or shapes, or a score is not a number.

    Source: Wortsman et al. 2022, recipe 1.
    """
    if not members:
        raise CompressionError("members is empty; a soup needs at least one model")
    labels, method = list(members), Linear()
    history: list[tuple[dict[str, float], float]] = []

    def trial(chosen: list[str]) -> tuple[dict[str, Tensor], float]:
        merged = merge_state_dicts(method, {label: members[label] for label in labels if label in chosen})
        score = float(evaluate(merged))
        if score != score:
            raise CompressionError(f"the score of {' + '.join(chosen)} is not a number; let evaluate return one")
        history.append((dict.fromkeys(chosen, 1.0), score))
        return merged, score

    singles = {label: trial([label])[1] for label in labels}
    order = sorted(labels, key=lambda label: -singles[label])
    soup, best = [order[0]], singles[order[0]]
    state: dict[str, Tensor] | None = None
    for label in order[1:]:
        merged, score = trial([*soup, label])
        if score >= best:
            soup, best, state = [*soup, label], score, merged
    if state is None:
        state = merge_state_dicts(method, {soup[0]: members[soup[0]]})
    weights = tuple(float(label in soup) for label in labels)
    coefficients = Coefficients(members=tuple(labels), weights=weights)
    return Found(coefficients=coefficients, method=method, state_dict=state, score=best, history=tuple(history))
