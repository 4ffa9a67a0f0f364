"""Which rows of a vocabulary a recipe's rows use, what that makes of its inputs, and what is left of a plan."""

import json

import pytest
import torch
from datasets import Dataset
from transformers import CanineConfig, CanineModel, LlamaConfig, LlamaForCausalLM, RobertaConfig, RobertaForMaskedLM

from hf_compress import CompressionError, ShrinkPlan, UsedVocabulary, choose_parts, shrink
from hf_compress._problems import RecipeError
from hf_compress.inputs.sections import Data
from hf_compress.pruning.shrink.planned import PlannedShrink
from hf_compress.pruning.shrink.planned_vocabulary import PlannedVocabulary, used_ids, written_otherwise
from hf_compress.pruning.shrink.removal import planned_by_recipe
from hf_compress.pruning.shrink.vocabulary_choice import choose_vocabulary, configs_of, without_rows
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.builtin.image_classification import ImageClassification
from hf_compress.tasks.builtin.sequence_classification import SequenceClassification
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
    most = PlannedShrink.of(found.opened.skeleton, rest).budget.limits
    for what, share in (("parameters", 0.6), ("macs", 0.5)):
        asked = share * getattr(found.before, what)
        assert asked * (1 - 1e-5) <= most[what] <= asked
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


def test_a_budget_that_cannot_be_met_is_told_as_it_was_asked(inputs):
    opened, data = inputs
    plan = ShrinkPlan(vocabulary=UsedVocabulary(), parameters="1%")
    with pytest.raises(RecipeError, match=r"^shrink: parameters=0.01\d* allows .* is 1% of the whole"):
        planned_by_recipe(opened.skeleton, plan, opened, data)


def test_examples_that_are_other_tokens_are_counted_and_said(tmp_path, caplog):
    """Blocks of two tokens drop the last one of an odd number: what it was made of goes, and the word before it stays."""
    before = Dataset.from_dict({"input_ids": [[0, 5], [5, 7, 9], [9]], "labels": [[-100, 5], [7], [9]]})
    after = Dataset.from_dict({"input_ids": [[0, 1], [1, 2, 3], [3]], "labels": [[-100, 1], [2], [3]]})
    assert written_otherwise(before, after, ("input_ids", "labels"), (0, 5, 7, 9)) == 0
    other = Dataset.from_dict({"input_ids": [[0, 1], [1, 3], [3], [0]], "labels": [[1, 1], [2], [3], [0]]})
    assert written_otherwise(before, other, ("input_ids",), (0, 5, 7, 9)) == 1
    assert written_otherwise(before, other, ("input_ids", "labels"), (0, 5, 7, 9)) == 2
    folder = write_wordy_model(tmp_path / "model")
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"text": "the cat sat home", "label": index % 2} for index in range(20)])
    cut, data = SequenceClassification(length=3), Data(path=str(rows))
    opened = open_inputs(str(folder), data, cut, trained_anew=True)
    # A length that ends inside of a word: "Ġc" of "Ġcat" would be another piece, had it been seen alone.
    with caplog.at_level("WARNING", "hf_compress"):
        found = PlannedVocabulary.of(opened, UsedVocabulary(), data, 0)
    count = written_otherwise(opened.examples["train"], found.opened.examples["train"], ("input_ids",), found.choice.kept)
    assert (f"{count} of 19 training examples are other tokens" in caplog.text) is bool(count)


def test_ids_up_to_the_paddings_stay_where_positions_are_counted_from_it(inputs, tmp_path):
    opened, _ = inputs
    used = used_ids(opened.examples["train"], ("input_ids",))
    settings = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    unused = sorted(set(range(len(opened.processor))) - set(planned(inputs).choice.kept))
    pad = unused[0] + 1  # which would be one less, and all positions with it
    config = RobertaConfig(**settings, vocab_size=len(opened.processor), pad_token_id=pad, max_position_embeddings=pad + 40)
    torch.manual_seed(0)
    model = RobertaForMaskedLM(config).eval()
    choice = choose_vocabulary(opened.processor, model, configs_of(model), used)
    assert choice.kept[: pad + 1] == tuple(range(pad + 1)) and len(choice.kept) < len(opened.processor)
    small = without_rows(model, choice)
    ids = torch.tensor([[choice.kept.index(index) for index in sorted(used)[:8]]])
    with torch.no_grad():
        expected = model(input_ids=torch.tensor(choice.kept)[ids]).logits[..., list(choice.kept)]
        torch.testing.assert_close(small(input_ids=ids).logits, expected, atol=1e-6, rtol=1e-5)


def test_a_class_that_takes_ids_for_more_than_rows_is_refused(inputs, caplog):
    class Counting(LlamaForCausalLM):
        def forward(self, input_ids=None, **more):
            output = super().forward(input_ids=input_ids, **more)
            output.logits = output.logits + input_ids.sum()
            return output

    class Asking(LlamaForCausalLM):
        def forward(self, input_ids=None, mood=None, **more):
            return super().forward(input_ids=input_ids, labels=mood + 1, **more)

    opened, _ = inputs
    size = {"vocab_size": len(opened.processor), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = LlamaConfig(**size, num_attention_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    used = used_ids(opened.examples["train"], ("input_ids",))
    choice = choose_vocabulary(opened.processor, Counting(config), (), used)
    with pytest.raises(CompressionError, match="llama without rows of its vocabulary answers otherwise .by"):
        without_rows(Counting(config), choice)
    without_rows(Asking(config), choice)
    assert "llama was not compared with itself without the rows: no batch is known for it" in caplog.text
    canine = CanineModel(CanineConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2))
    with pytest.raises(CompressionError, match="CanineModel has no table with a row for each piece"):
        choose_vocabulary(opened.processor, canine, (), used)


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
