"""Numbers per token, told per token of another tokenizer: against the likelihood of the texts as a whole."""

import math

import pytest
import torch

from hf_compress import UsedVocabulary
from hf_compress.evaluation.other_tokens import TokenCounts
from hf_compress.evaluation.rows import Row
from hf_compress.inputs.sections import Data
from hf_compress.pruning.shrink.planned_vocabulary import PlannedVocabulary
from hf_compress.pruning.shrink.vocabulary_choice import without_rows
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.opened import open_inputs
from tests.small import write_jsonl, write_wordy_model


def row(**changes):
    settings = {"name": "dense", "metrics": {"perplexity": math.exp(2.0), "nll": 2.0, "num_tokens": 80}, "file_bytes": 1}
    return Row(**{**settings, **changes})


def test_the_sum_over_the_rows_stays_and_the_number_of_tokens_is_the_others():
    counts = TokenCounts(own=100, others=125)
    dense = row(intervals={"perplexity": (math.exp(1.0), math.exp(3.0)), "nll": (1.0, 3.0)})
    found = counts.per_other_token(dense)
    assert found.metrics == {"perplexity": pytest.approx(math.exp(1.6)), "nll": pytest.approx(1.6), "num_tokens": 100}
    assert found.intervals["nll"] == pytest.approx((0.8, 2.4))
    assert found.intervals["perplexity"] == pytest.approx((math.exp(0.8), math.exp(2.4)))
    said = counts.note(dense)
    assert "are 100 tokens; by the smaller one they are 125" in said and "is 7.389 per token of its own" in said
    assert dense.metrics["nll"] == 2.0


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"accuracy": 0.5, "nll": 1.0}, "dense was measured with its own vocabulary, the rows below it"),
        ({"perplexity": 3.0, "nll": 1.1}, "its perplexity is one of other tokens than those below"),
    ],
)
def test_numbers_that_are_no_sum_over_tokens_of_the_rows_stay_and_that_is_said(metrics, said):
    counts = TokenCounts(own=None, others=None)
    assert counts.per_other_token(row(metrics=metrics)) == row(metrics=metrics)
    assert said in counts.note(row(metrics=metrics))


def test_a_dense_model_and_its_smaller_vocabulary_compare_by_the_likelihood_of_the_texts(tmp_path):
    """One block of one document, so nothing is dropped: nll per token times tokens is the text's, by either tokenizer."""
    folder = write_wordy_model(tmp_path / "model")
    splits = {"train": ["the cat sat on the mat"] * 8, "validation": ["the dog ran"], "test": ["the tree ran home"]}
    for name, texts in splits.items():
        write_jsonl(tmp_path / f"{name}.jsonl", [{"text": text} for text in texts])
    data = Data(path=str(tmp_path))
    own = open_inputs(str(folder), data, CausalLM(length=2))
    small = PlannedVocabulary.of(own, UsedVocabulary(), data, 0)
    counts = TokenCounts.of(own, small.opened)
    text = splits["test"][0]
    assert (counts.own, counts.others) == tuple(
        len(one.processor(text, add_special_tokens=False)["input_ids"]) + 1 for one in (own, small.opened)
    )
    assert counts.others > counts.own
    model = own.load_model(0).eval()
    sums = []
    for one, kept in ((own, model), (small.opened, without_rows(model, small.choice))):
        ids = torch.tensor([one.processor(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            sums.append(kept(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1))
    nll = sums[0] / counts.own
    found = counts.per_other_token(row(metrics={"nll": nll, "perplexity": math.exp(nll)}))
    assert found.metrics["nll"] * counts.others == pytest.approx(sums[0])
    assert found.metrics["perplexity"] ** counts.others == pytest.approx(math.exp(sums[0]))
