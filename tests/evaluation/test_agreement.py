"""Two models side by side, against loops over rows with torch's own divergence."""

import numpy
import pytest
import torch
from torch.nn import functional

from hf_compress._errors import CompressionError
from hf_compress.evaluation.agreement import side_by_side
from hf_compress.evaluation.uncertainty import of_likelihoods, together
from tests.tasks.metrics.test_perplexity import ragged
from tests.tiny import VOCAB, tiny_bert, tiny_llama


def pairs(batches):
    return [(batch, batch) for batch in batches]


def test_tokens_are_compared_as_a_loop_compares_them():
    baseline, model = tiny_llama(0).eval(), tiny_llama(1).eval()
    batches = ragged()
    seen = side_by_side([baseline, model], pairs(batches), "")
    expected = []
    for batch in batches:
        with torch.no_grad():
            first, second = (one(input_ids=batch["input_ids"]).logits.double() for one in (baseline, model))
        for row, labels in enumerate(batch["labels"]):
            sums = numpy.zeros(5)
            for at in range(len(labels) - 1):
                if labels[at + 1] != -100:
                    p, q = (logits[row, at].log_softmax(-1) for logits in (first, second))
                    divergence = functional.kl_div(q, p, log_target=True, reduction="sum")  # KL(p || q)
                    right = labels[at + 1]
                    sums += [1, -p[right].item(), -q[right].item(), divergence.item(), float(p.argmax() == q.argmax())]
            expected.append(sums)
    expected = numpy.array(expected).T
    found = numpy.stack([seen.items, *seen.losses, seen.divergence, seen.alike])
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)  # fp32 against fp64: a divergence is a small difference
    assert (seen.decisions == seen.items).all() and seen.loss == "nll"
    totals = expected.sum(1)
    wanted = {"agreement": totals[4] / totals[0], "kl_divergence": totals[3] / totals[0]}
    assert together(seen) == pytest.approx(wanted, rel=1e-5)
    # The divergence is of the model from the baseline, and not the other way round.
    turned = side_by_side([model, baseline], pairs(batches), "")
    assert abs(together(turned)["kl_divergence"] - together(seen)["kl_divergence"]) > 1e-6


def test_likelihoods_of_one_model_have_no_baseline_to_agree_with():
    seen = side_by_side([tiny_llama().eval()], [(batch,) for batch in ragged()], "")
    assert (seen.divergence, seen.closeness(), together(seen)) == (None, None, {})
    (group,) = of_likelihoods(seen, ["nll", "perplexity"], "blocks")
    values = group.quantities[0][0].of_sums(group.quantities[0][0].statistics.sum(0, keepdims=True))
    assert values["perplexity"] == pytest.approx(numpy.exp(values["nll"]))


def test_independent_labels_and_numbers():
    ids = torch.arange(12).reshape(3, 4) % VOCAB
    sets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    models = [tiny_bert(seed, problem_type="multi_label_classification").eval() for seed in (0, 1)]
    seen = side_by_side(models, pairs([{"input_ids": ids, "labels": sets}]), "")
    with torch.no_grad():
        p, q = (one(input_ids=ids).logits.double().sigmoid() for one in models)
    divergence = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(-1)
    assert seen.divergence == pytest.approx(divergence.numpy(), abs=1e-6)
    assert seen.alike.tolist() == ((p > 0.5) == (q > 0.5)).sum(-1).tolist() and seen.decisions.tolist() == [3, 3, 3]
    numbers = [tiny_bert(seed, num_labels=1, problem_type="regression").eval() for seed in (0, 1)]
    seen = side_by_side(numbers, pairs([{"input_ids": ids, "labels": torch.tensor([0.5, 1.0, -1.0])}]), "")
    assert seen.loss == "mse" and seen.divergence is None and together(seen) == {}


def test_a_vocabulary_that_is_padded_further_is_compared_over_what_both_have():
    baseline, model = tiny_llama().eval(), tiny_llama().eval()
    model.resize_token_embeddings(VOCAB + 8, mean_resizing=False)
    seen = side_by_side([baseline, model], pairs(ragged()), "")
    assert together(seen) == {"agreement": 1.0, "kl_divergence": pytest.approx(0.0, abs=1e-6)}


def test_other_rows_are_refused():
    first = ragged()
    second = [{**batch, "labels": torch.where(batch["labels"] == -100, 5, batch["labels"])} for batch in first]
    with pytest.raises(CompressionError, match="against: it cuts the same examples into other rows of logits"):
        side_by_side([tiny_llama().eval(), tiny_llama().eval()], zip(first, second, strict=True), "")
