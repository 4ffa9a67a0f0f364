"""A recipe with its files opened."""

import pytest
import torch
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from hf_compress import Recipe
from hf_compress._problems import Problem, RecipeError, problems_of
from hf_compress.inputs.fresh import END_OF_TEXT_ID
from hf_compress.jobs.train.plan import Plan
from tests.command_line import tree
from tests.small import DROP, LLAMA, pretrained, recipe, text_rows, write_jsonl, write_model
from tests.tiny import tiny_llama


def plan(tmp_path, changes=None, **options):
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    return Plan.make(Recipe.from_plain(recipe(tmp_path, changes)), **options)


def test_a_fresh_model_fits_its_tokenizer_and_nothing_is_written(tmp_path):
    made = plan(tmp_path)
    assert made.opened.config.vocab_size == len(made.opened.processor) == 300
    assert made.opened.config.eos_token_id == made.opened.processor.eos_token_id
    assert (made.steps, made.dense_steps) == (4, 2)
    assert all(len(row) == 16 for split in made.opened.examples.values() for row in split["input_ids"])
    assert tree(tmp_path) == ["train.jsonl"]


FRESH = {
    "llama": {},
    "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 4},
    "modernbert": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4},
    "bert": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4},
    "roberta": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4},
    "xlnet": {"d_model": 32, "d_inner": 64, "n_layer": 1, "n_head": 4},
    "gemma": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4},
}


@pytest.mark.parametrize("architecture", FRESH)
def test_fresh_models_pad_with_the_tokens_of_the_fresh_tokenizer(architecture, tmp_path):
    config = {"model_type": architecture, **FRESH[architecture]} if FRESH[architecture] else None
    changes = {"task.name": "sequence_classification", "pruning": DROP, "quantization": DROP}
    changes["export.dtype"] = "float32"  # XLNet does not run in 16 bits
    changes |= {} if config is None else {"model": {"config": config}}
    opened = plan(tmp_path, changes).opened
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(opened.config, key) == getattr(opened.processor, key) == END_OF_TEXT_ID
    assert opened.config.vocab_size == len(opened.processor)


def test_a_checkpoint_keeps_its_config_and_gets_the_labels(tmp_path):
    folder = write_model(tmp_path / "model", tiny_llama(pad_token_id=None))
    changes = {"task.name": "sequence_classification", "task.label": "name", "dense": {}}
    made = plan(tmp_path, {**pretrained(folder), **changes})
    assert made.opened.config.id2label == {0: "cold", 1: "warm"} and made.opened.config.hidden_size == 32
    assert made.opened.config.pad_token_id == made.opened.processor.pad_token_id  # it had none to pad with


def test_every_problem_is_in_one_refusal(tmp_path):
    with pytest.raises(RecipeError) as refusal:
        plan(tmp_path, {"task.text": "txt", "quantization.targets": ["Linar"]})
    assert [problem.path for problem in refusal.value.problems] == ["task.text", "quantization.targets"]
    assert len(str(refusal.value).splitlines()) == 2


DEBERTA = {"model_type": "deberta", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
DEBERTA |= {"num_attention_heads": 4, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
CTRL = {"model_type": "ctrl", "n_embd": 32, "n_layer": 1, "n_head": 4, "dff": 64, "n_positions": 64}
SIXTEEN_BITS = {
    "deberta": (
        {"task.name": "sequence_classification", "model": {"config": DEBERTA}},
        "deberta does not run with weights stored in bfloat16",
    ),
    "ctrl": (
        {"model": {"config": CTRL}, "quantization": {"scheme": "W8A8"}},
        "ctrl does not run quantized with weights stored in bfloat16",
    ),
}


@pytest.mark.parametrize("name", SIXTEEN_BITS)
def test_a_fresh_model_that_does_not_run_in_the_default_storage_type_is_refused_by_check(tmp_path, name):
    changes, words = SIXTEEN_BITS[name]
    with pytest.raises(RecipeError) as refusal:
        plan(tmp_path, changes)
    (problem,) = refusal.value.problems
    assert problem.path == "export.dtype"
    assert problem.message.startswith(words) and problem.message.endswith("; store them in float32")
    assert plan(tmp_path, {**changes, "export.dtype": "float32"}).found.problems == []


class HalfConfig(LlamaConfig):
    model_type = "half_llama"


class HalfLlamaForCausalLM(LlamaForCausalLM):
    """A part of it is in 16 bits whatever type is asked for."""

    config_class = HalfConfig

    def __init__(self, config):
        super().__init__(config)
        self.gate = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))


@pytest.fixture
def half_llama():
    AutoConfig.register("half_llama", HalfConfig)
    AutoModelForCausalLM.register(HalfConfig, HalfLlamaForCausalLM)
    yield {**LLAMA, "model_type": "half_llama"}
    CONFIG_MAPPING._extra_content.pop("half_llama")
    MODEL_FOR_CAUSAL_LM_MAPPING._extra_content.pop(HalfConfig)


def test_weights_in_16_bits_are_refused_before_anything_is_loaded(tmp_path, half_llama):
    with pytest.raises(RecipeError) as refusal:
        plan(tmp_path, {"model": {"config": half_llama}})
    (problem,) = refusal.value.problems
    assert problem.path == "training" and problem.message.startswith("the model's weights are in 16 bits, where small")


def test_a_refusal_says_its_path_or_has_none():
    assert problems_of(RecipeError([Problem(path="a", message="b")])) == [Problem(path="a", message="b")]
    assert str(Problem(path="", message="b")) == "b"


def test_a_name_to_ignore_that_matches_nothing_is_said(tmp_path, caplog):
    plan(tmp_path, {"pruning.ignore": ["re:.*down_prj"], "quantization.ignore": ["re:.*up_prj", "re:.*lm_head"]})
    said = [record.getMessage() for record in caplog.records if "matches no module" in record.getMessage()]
    assert [message.partition(" matches")[0] for message in said] == [
        "pruning.ignore: 're:.*down_prj'",
        "quantization.ignore: 're:.*up_prj'",
    ]
