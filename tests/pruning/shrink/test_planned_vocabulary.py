"""Which rows of a vocabulary a recipe's rows use, what that makes of its inputs, and what is left of a plan."""

import json

import pytest
from datasets import Dataset

from hf_compress import CompressionError, ShrinkPlan, UsedVocabulary, choose_parts, shrink
from hf_compress._problems import RecipeError
from hf_compress.inputs.sections import Data
from hf_compress.pruning.shrink.planned import PlannedShrink
from hf_compress.pruning.shrink.planned_vocabulary import PlannedVocabulary, used_ids
from hf_compress.pruning.shrink.removal import planned_by_recipe
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.builtin.image_classification import ImageClassification
from hf_compress.tasks.opened import open_inputs
from tests.small import rows_of_fewer_words, write_jsonl, write_wordy_model
from tests.tiny import tiny_llama


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A model that knows all words, and rows with some of them."""
    folder = tmp_path_factory.mktemp("wordy")
    write_wordy_model(folder / "model")
    data = Data(path=str(write_jsonl(folder / "rows.jsonl", rows_of_fewer_words())))
    return open_inputs(str(folder / "model"), data, CausalLM(length=16)), data


def planned(inputs, **asked):
    opened, data = inputs
    return PlannedVocabulary.of(opened, UsedVocabulary(**asked), data, 0)


def test_the_pieces_of_the_training_rows_stay_and_the_examples_are_the_same_under_other_ids(inputs):
    opened, _ = inputs
    found = planned(inputs)
    kept, vocabulary = found.choice.kept, opened.processor.get_vocab()
    assert [vocabulary[piece] in kept for piece in ("Ġcat", "Ġhome", "Ġtree")] == [True, False, False]
    assert {index for row in opened.examples["train"]["input_ids"] for index in row} <= set(kept)
    before, after = opened.examples["train"]["input_ids"][:], found.opened.examples["train"]["input_ids"][:]
    assert [[kept[index] for index in row] for row in after] == before
    assert found.opened.config.vocab_size == len(found.opened.processor) == len(kept)
    assert found.opened.config.eos_token_id == kept.index(opened.config.eos_token_id)
    assert found.before.parameters - found.after.parameters == 2 * 32 * (found.choice.rows_before - len(kept))
    assert found.sentence().startswith(f"{found.choice}, which the training rows use; parameters: ")
    assert opened.config.vocab_size == found.choice.rows_before  # the inputs are as they were


def test_pieces_are_kept_by_name(inputs):
    vocabulary = inputs[0].processor.get_vocab()
    assert vocabulary["Ġhome"] in planned(inputs, keep=("Ġhome",)).choice.kept


def test_ids_are_read_from_lists_and_what_is_no_label_is_none():
    rows = Dataset.from_dict({"input_ids": [[3, 1], [], [1]], "labels": [[-100, 7], [2], [-100]], "text": ["a", "b", "c"]})
    assert used_ids(rows, ("input_ids",)) == {1, 3}
    assert used_ids(rows, ("input_ids", "labels")) == {1, 2, 3, 7}


def test_a_budget_is_one_of_the_whole_model(inputs):
    found = planned(inputs)
    rest = found.rest(ShrinkPlan(vocabulary=UsedVocabulary(), parameters="60%", macs=0.5))
    assert rest.vocabulary is None
    assert rest.parameters * found.after.parameters == pytest.approx(0.6 * found.before.parameters)
    assert rest.macs * found.after.macs == pytest.approx(0.5 * found.before.macs)
    most = PlannedShrink.of(found.opened.skeleton, rest).budget.limits
    assert most["parameters"] == pytest.approx(0.6 * found.before.parameters)
    with pytest.raises(CompressionError, match=r"parameters=0.99\d* allows .* and the smaller vocabulary alone leaves"):
        found.rest(ShrinkPlan(vocabulary=UsedVocabulary(), parameters=1 - 1e-3))
    assert found.rest(ShrinkPlan(vocabulary=UsedVocabulary())) is None
    assert found.rest(ShrinkPlan(vocabulary=UsedVocabulary(), heads=2)) == ShrinkPlan(heads=2)


def test_unknown_pieces_are_refused_at_the_key(inputs):
    opened, data = inputs
    plan = ShrinkPlan(vocabulary=UsedVocabulary(keep=("Ġhome", "Ġzebra")))
    with pytest.raises(RecipeError, match=r"shrink.vocabulary: keep=\['Ġzebra'\]: the tokenizer has no such piece"):
        planned_by_recipe(opened.skeleton, plan, opened, data)


def test_where_all_rows_are_used_or_there_are_no_tokens_it_is_refused(inputs):
    opened, data = inputs
    pieces = tuple(opened.processor.get_vocab())
    with pytest.raises(CompressionError, match=r"nothing goes: .* use all \d+ rows; leave it out"):
        planned(inputs, keep=pieces)
    images = type(opened)()
    images.task, images.processor = ImageClassification(), object()
    with pytest.raises(CompressionError, match="image_classification has no tokens whose rows could be counted"):
        PlannedVocabulary.of(images, UsedVocabulary(), data, 0)


def test_from_python_the_function_with_a_tokenizer_is_named():
    plan = ShrinkPlan(vocabulary=UsedVocabulary(), heads=2)
    for act in (shrink, choose_parts, PlannedShrink.of):
        with pytest.raises(CompressionError, match=r"call shrink_vocabulary\(model, tokenizer, texts\) first"):
            act(tiny_llama(), plan)


def test_what_went_is_plain_data(inputs):
    opened, data = inputs
    removal = planned_by_recipe(opened.skeleton, ShrinkPlan(vocabulary=UsedVocabulary(), feed_forward=32), opened, data)
    alone = removal.done(None)
    assert json.loads(json.dumps(alone.to_plain())) == {
        "vocabulary": {"rows_before": removal.vocabulary.choice.rows_before, "kept": list(removal.vocabulary.choice.kept)}
    }
    choice = choose_parts(tiny_llama(vocab_size=len(removal.vocabulary.choice.kept)), removal.plan)
    both = removal.done(choice)
    assert both.to_plain() == {**choice.to_plain(), **alone.to_plain()}
    assert both.sentences() == (removal.vocabulary.sentence(), choice.sentence())
    assert both.describe().splitlines()[0].endswith("which the training rows use")
    assert removal.left.config.intermediate_size == 32 and removal.left.config.vocab_size < opened.config.vocab_size
