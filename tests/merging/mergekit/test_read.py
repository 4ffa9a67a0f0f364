"""What mergekit's planner makes of a configuration is what the import makes of it."""

import json
import textwrap
from pathlib import Path

import pytest
import yaml

from hf_compress._errors import CompressionError
from hf_compress.merging.configuration import BASE, Tokenizer
from hf_compress.merging.mergekit.chat_templates import CHAT_TEMPLATES
from hf_compress.merging.mergekit.methods import OUR_NAMES
from hf_compress.merging.mergekit.read import import_mergekit
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.plan.parameters import resolve
from hf_compress.merging.plan.stacking import stack_layers
from hf_compress.recipe.foreign import foreign_kind, holds_several_documents, is_mergekit
from tests.merging.mergekit.cases import CASES

EXPECTED = json.loads((Path(__file__).parent / "mergekit_expected.json").read_text())
NAMES = [
    "model.embed_tokens.weight",
    *(
        f"model.layers.{layer}.{part}.weight"
        for layer in range(4)
        for part in ("input_layernorm", "self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj")
    ),
    "model.norm.weight",
    "lm_head.weight",
]


def read(text):
    return import_mergekit(textwrap.dedent(text), "merge.yml")


def refused(text):
    with pytest.raises(CompressionError) as caught:
        read(text)
    return str(caught.value)


def method_of(text):
    return yaml.safe_load(textwrap.dedent(text))["merge_method"]


def plan(merge):
    """Result tensor -> (label, tensor) of every input, and the parameters."""
    labels = [member.label for member in merge.members] + ([BASE] if merge.base else [])
    if merge.slices is None:
        return {name: [(label, name) for label in labels] for name in NAMES}, resolve(merge, NAMES), 4
    config = {"num_hidden_layers": 4}
    stack = stack_layers(merge, dict.fromkeys(labels, NAMES), dict.fromkeys(labels, config))
    return stack.places, resolve(merge, stack.places, stack.members()), stack.num_layers


def shared_value(method, parameter):
    """A shared parameter of our method under mergekit's name."""
    if parameter.startswith("nuslerp"):
        along = {"nuslerp_flatten": "tensor", "nuslerp_row_wise": "columns"}[parameter]
        return method.along == along
    return getattr(method, OUR_NAMES.get(parameter, parameter))


@pytest.mark.parametrize("case", CASES)
def test_every_tensor_gets_the_parameters_that_mergekit_gives_it(case):
    if method_of(CASES[case]) not in MergeMethod.available():
        pytest.skip("this method is not installed")
    merge = read(CASES[case]).merge
    assert merge.compat == "mergekit"
    places, parameters, num_layers = plan(merge)
    assert num_layers == EXPECTED[case]["layers"]
    seen = set()
    for group in EXPECTED[case]["groups"]:
        for name, sources in group["tensors"].items():
            seen.add(name)
            found = parameters[name]
            labels = [label for label, _ in places[name] if label != BASE]
            # The base is a member like others for some methods; the folder's name, "base", is a reserved label.
            assert [label.removeprefix("./") for label in labels] == [
                label for label in group["order"] if label != "base" or "./base" in labels
            ]
            if merge.slices is not None:
                expected = dict.fromkeys(group["order"], name) if sources is None else sources
                assert {label.removeprefix("./"): tensor for label, tensor in places[name]} == expected
            for parameter, value in group["shared"].items():
                if parameter in ("int8_mask", "eps") or (parameter == "rescale" and merge.method.name == "task_arithmetic"):
                    continue
                # mergekit's own arithmetic: equal to the last bit
                assert shared_value(found.method, parameter) == value, (name, parameter)
            for label, own in group["models"].items():
                index = next((i for i, each in enumerate(labels) if each.removeprefix("./") == label), None)
                if index is None:
                    assert not own  # a base has no parameters
                    continue
                for parameter, value in own.items():
                    if parameter == "density" and merge.method.name == "task_arithmetic":
                        continue
                    assert found.values[parameter][index] == (1.0 if value is None else value), (name, label, parameter)
    assert seen == set(places)


def test_there_are_enough_cases():
    assert len(CASES) == len(EXPECTED) >= 25
    assert set(MergeMethod.available()) & {method_of(text) for text in CASES.values()}


def test_a_gradient_and_filters_become_rules_of_which_the_last_wins():
    merge = read(
        """
        models:
          - {model: a, parameters: {weight: 0.5}}
          - model: b
            parameters:
              weight:
                - {filter: self_attn, value: [0, 1]}
                - {filter: "mlp.", value: 0.25}
                - {value: 2}
        merge_method: linear
        """
    ).merge
    assert [member.weight for member in merge.members] == [0.5, 2]
    assert [(rule.match, rule.member, rule.set) for rule in merge.rules] == [
        ("re:.*?mlp\\.", "b", {"weight": 0.25}),
        ("re:.*?self_attn", "b", {"weight": [0, 1]}),
    ]


def test_a_model_with_an_adapter_is_a_member_with_an_adapter():
    merge = read("{models: [{model: org/a+org/lora}, {model: b}], merge_method: linear, parameters: {weight: 1}}").merge
    assert (merge.members[0].model, merge.members[0].adapter) == ("org/a", "org/lora")
    assert merge.members[0].label == "org/a+org/lora"
    written_out = "{models: [{model: {model: {path: a}, lora: {path: x}}}], merge_method: linear, parameters: {weight: 1}}"
    assert read(written_out).merge.members[0].label == "a+x"


def test_folders_called_like_a_reserved_word_are_told_apart():
    merge = read("{models: [{model: base}, {model: union}], merge_method: linear, parameters: {weight: 1}}").merge
    assert [(member.model, member.label) for member in merge.members] == [("base", "./base"), ("union", "./union")]


LINEAR = "models: [{model: a}, {model: b}]\nmerge_method: linear\nparameters: {weight: 1}\n"
SLERP = "models: [{model: a}, {model: b}]\nmerge_method: slerp\nbase_model: a\nparameters: {t: 0.5}\n"


@pytest.mark.parametrize(
    ("text", "tokenizer"),
    [
        (LINEAR, None),
        (LINEAR + "tokenizer_source: union", Tokenizer(source="union")),
        (LINEAR + "tokenizer_source: b", Tokenizer(source="b")),
        (SLERP + "tokenizer_source: base", Tokenizer(source="base")),
        (SLERP + "tokenizer_source: a", Tokenizer(source="base")),
        (SLERP + "tokenizer: {}", Tokenizer(source="union")),
        (
            SLERP + "tokenizer:\n  source: base\n  pad_to_multiple_of: 64\n  tokens:\n"
            "    <|im_start|>: {source: b, force: true}\n"
            "    <|im_end|>: {source: {kind: model_token, model: a, token: <|im_end|>}, force: true}\n",
            Tokenizer(source="base", pad_to_multiple_of=64, rows={"<|im_start|>": "b", "<|im_end|>": "base"}),
        ),
        (
            SLERP + "tokenizer:\n  tokens:\n    <x>: {source: b, force: true}\n    <y>: {source: b}\n"
            "    <z>: {source: a, force: false}\n",
            Tokenizer(source="union", rows={"<x>": "b"}, missing_rows={"<y>": "b", "<z>": "base"}),
        ),
    ],
)
def test_tokenizers_are_read(text, tokenizer):
    assert read(text).merge.tokenizer == tokenizer


@pytest.mark.parametrize(
    ("lines", "inputs", "stored"),
    [
        ("", "auto", "auto"),
        ("dtype: bfloat16", "bfloat16", "bfloat16"),
        ("out_dtype: bfloat16", "auto", "bfloat16"),
        ("dtype: float32\nout_dtype: torch.float16", "float32", "float16"),
    ],
)
def test_inputs_are_converted_to_dtype_and_stored_as_out_dtype_else_dtype(lines, inputs, stored):
    merge = read(LINEAR + lines).merge
    assert (merge.input_dtype, merge.dtype) == (inputs, stored)


def test_with_a_tokenizer_a_base_that_is_a_model_like_others_stays_the_base():
    text = LINEAR + "base_model: a\n"
    assert read(text).merge.base is None  # the first member gives config and tokenizer anyway
    merge = read(text + "tokenizer_source: union").merge
    assert merge.base == "a" and [member.label for member in merge.members] == ["a", "b"]


def test_a_row_without_force_is_for_those_who_lack_the_token():
    tokens = "tokenizer:\n  source: union\n  tokens:\n    <x>: {source: a}\n    <y>: {source: b, force: true}"
    tokenizer = read(LINEAR + tokens).merge.tokenizer
    assert (tokenizer.missing_rows, tokenizer.rows) == ({"<x>": "a"}, {"<y>": "b"})


def test_a_chat_template_is_handed_on():
    assert read(LINEAR).merge.chat_template is None
    assert read(LINEAR + "chat_template: auto").merge.chat_template == "auto"
    assert read(LINEAR + "chat_template: '{{ messages[0] }}'").merge.chat_template == "{{ messages[0] }}"


def test_a_chat_template_may_be_one_of_mergekits_names():
    for name, template in CHAT_TEMPLATES.items():
        assert read(LINEAR + f"chat_template: {name}").merge.chat_template == template


def test_a_name_a_place_and_holders_of_anchors_are_read_over():
    text = "x-common: &common\n  weight: 1\nname: mine\noutput_dir: there\n" + LINEAR.replace("{weight: 1}", "*common")
    found = read(text)
    assert found.merge == read(LINEAR).merge
    places = "has no effect; the command says where to write"
    assert found.notes == (f"line 3: name {places}", f"line 4: output_dir {places}")


def test_a_base_may_have_an_adapter():
    merge = read(SLERP.replace("base_model: a", "base_model: c+d").replace("{model: a}, ", "")).merge
    assert (merge.base, merge.base_adapter) == ("c", "d")


def test_files_of_other_tools_are_called_by_their_names():
    assert "this is a mergekit-moe file (experts)" in foreign_kind(
        {"base_model": "a", "gate_mode": "hidden", "experts": []}
    )
    assert "this is a mergekit-evolve file (genome)" in foreign_kind({"genome": {}, "tasks": []})
    for other in ({"job": "merge", "experts": 1}, {"method": "linear"}, [], None):
        assert foreign_kind(other) is None
    assert holds_several_documents(LINEAR + "---\n" + LINEAR) and holds_several_documents("---\na: 1\n---\n")
    assert not any(map(holds_several_documents, (LINEAR, "---\n" + LINEAR, "", "a: [", "a: 1\n...\n")))


def test_settings_without_effect_are_said():
    text = LINEAR.replace("weight: 1", "weight: 1, int8_mask: true, density: 0.5")
    assert read(text).notes == (
        "line 3: int8_mask has no effect in linear",
        "line 3: density has no effect in linear",
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "merge.yml is empty"),
        ("a: [", "merge.yml, line 1: not valid YAML: expected the node content"),
        ("models: 1\nmodels: 2", "merge.yml, line 2: not valid YAML: the key 'models' stands twice"),
        ("a: &x [*x]", "contains itself through an alias"),
        (
            "a: 1\n---\nb: 2",
            "merge.yml holds 2 documents, so it is a mergekit-multi file; `hf-compress merge FILE OUT` runs it",
        ),
        (LINEAR + "y: &c {}\njunk: *c", "line 5: unknown key of a mergekit configuration 'junk'"),
        ("- linear", "line 1: a mergekit configuration must be a mapping"),
        ("models: []", "line 1: merge_method is missing"),
        (LINEAR + "dtyp: 1", "line 4: unknown key of a mergekit configuration 'dtyp'; did you mean 'dtype'?"),
        (LINEAR.replace("linear", "linaer"), "line 2: unknown merge_method 'linaer'; did you mean 'linear'?"),
        (LINEAR.replace("linear", "ramplus_tl"), "line 2: unknown merge_method 'ramplus_tl'"),
        (
            "merge_method: linear",
            "line 1: exactly one of models, slices and modules must stand, and here it is none of them",
        ),
        (LINEAR + "slices: [1]", "must stand, and here it is models, slices"),
        (
            "merge_method: linear\nmodules:\n  text_decoder: {models: [{model: a}]}",
            "line 2: modules other than `default` are not supported",
        ),
        (LINEAR.replace("weight: 1", "wieght: 1"), "line 3: unknown parameter 'wieght'; did you mean 'weight'?"),
        (LINEAR.replace("weight: 1", "weight: heavy"), "line 3: weight must be a number, and 'heavy' is not one"),
        (LINEAR.replace("weight: 1", "weight: .nan"), "line 3: weight must be a number, and nan is not one"),
        (
            LINEAR.replace("weight: 1", "weight: [1, {value: 2}]"),
            "numbers and entries with a filter cannot stand in one list",
        ),
        (LINEAR.replace("weight: 1", "weight: [{filter: mlp}]"), "line 3: the entry of weight has no value"),
        (LINEAR.replace("weight: 1", "weight: [{filter: 1, value: 1}]"), "filter of weight must be text"),
        (LINEAR.replace("weight: 1", "weight: [{filter: mlp, value: []}]"), "weight is an empty list"),
        (
            LINEAR.replace("weight: 1", "weight: 1, normalize: maybe"),
            "normalize must be true or false, and 'maybe' is neither",
        ),
        (LINEAR.replace("weight: 1", "normalize: true"), "line 1: weight is missing; mergekit has no default for it"),
        (
            LINEAR.replace("weight: 1", "weight: [{filter: mlp, value: 1}]"),
            "line 1: weight has filters, but no value for other tensors",
        ),
        (LINEAR.replace("model: b", "model: a"), "line 1: a stands twice; mergekit takes each model once"),
        (LINEAR.replace("model: b", "model: b@main"), "line 1: b@main: a revision is not supported; download it"),
        (LINEAR.replace("model: b", "model: b+c+d"), "line 1: model: 'b+c+d' names no model"),
        (LINEAR.replace("model: b", "model: 5"), "line 1: model must be text, and 5 is not text; put it in quotes"),
        (LINEAR.replace("model: b", "parameters: {weight: 1}"), "line 1: this entry names no model"),
        (LINEAR + "dtype: float64", "line 4: dtype: float64 is not a type that results are stored in"),
        (LINEAR + "chat_template: chat", "line 4: unknown chat_template 'chat'; did you mean 'chatml'?"),
        (LINEAR + "tokenizer_source: base", "line 4: the tokenizer of the base is asked for, and there is no base_model"),
        (LINEAR + "tokenizer_source: c", "line 4: unknown model in tokenizer source 'c' (known: a, b)"),
        (LINEAR + "tokenizer:\n  tokens:\n    <x>: {force: true}", "line 6: the row of '<x>' needs a source; name a model"),
        (LINEAR + "tokenizer_source: a\ntokenizer: {}", "line 5: tokenizer and tokenizer_source cannot stand together"),
        (
            LINEAR + "tokenizer:\n  tokens:\n    <x>:\n      source: {kind: zero}\n      force: true",
            "line 7: the row of '<x>' can only be the same token's row in a model",
        ),
        (SLERP.replace("base_model: a\n", ""), "line 1: slerp needs base_model"),
        (SLERP.replace("base_model: a", "base_model: c"), "slerp takes 2 models, the base included, and 3 are given"),
        (SLERP.replace("t: 0.5", "t: 1.5"), "line 4: t=1.5 lies outside [0, 1]"),
        (
            "merge_method: linear\nslices:\n  - sources: [{model: a, layer_range: [0, 2]}]\n    residual_weight: 0.5",
            "line 4: residual_weight is not supported",
        ),
        ("merge_method: linear\nslices:\n  - sources:\n    - model: a", "line 4: layer_range is missing"),
        (
            "merge_method: linear\nslices:\n  - sources:\n    - model: a\n      layer_range: [2, 2]",
            "line 5: layer_range [2, 2] is not a range",
        ),
        (
            "merge_method: linear\nslices:\n"
            "  - sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 3]}]",
            "line 3: the sources of one slice need equally many layers",
        ),
        (
            "merge_method: linear\nbase_model: a\nslices:\n  - base_model: b\n"
            "    sources: [{model: a, layer_range: [0, 2]}]",
            "line 4: a slice with a base of its own is not supported",
        ),
        (
            "merge_method: slerp\nbase_model: c\nparameters: {t: 1}\nslices:\n"
            "  - sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 2]}]",
            "line 5: slerp needs the base_model among the sources of each slice",
        ),
        (
            "merge_method: linear\nslices:\n  - sources: [{model: a, layer_range: [1, 3]}]\n"
            "parameters: {weight: [{filter: layers.1., value: 1}, {value: 2}]}",
            "filter 'layers.1.' names a layer by number, and the slices renumber layers",
        ),
    ],
)
def test_what_is_not_supported_is_refused_with_its_line(text, sentence):
    assert sentence in refused(text)


def test_a_recipe_of_ours_is_no_mergekit_configuration():
    assert is_mergekit({"merge_method": "linear", "models": []})
    assert not is_mergekit({"job": "merge", "merge_method": "linear"})
    assert not is_mergekit({"job": "merge", "method": "linear"})
    assert not is_mergekit(["merge_method"]) and not is_mergekit(None)
