"""Several schemes in one model: which module has which, trained, written, loaded, measured and resumed."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from hf_compress import Quantization, quantize, save_compressed
from hf_compress._errors import CompressionError
from hf_compress._modules.types import cast_weights
from hf_compress._registry import dump
from hf_compress.checkpoints.dequantized import DequantizedSource
from hf_compress.checkpoints.source import open_source
from hf_compress.evaluation.shares import describe_reach, measure_shares
from hf_compress.evaluation.size import measure_size
from hf_compress.quantization.fake_quantize import fake_quantize_weight
from hf_compress.quantization.groups import Group, group_of
from hf_compress.quantization.qat import prepare
from hf_compress.quantization.reach import scheme_counts
from hf_compress.quantization.schemes.presets import W4A16, W8A8, W8A16
from hf_compress.recipe.build import build
from tests.tiny import tiny_bart, tiny_llama, tiny_t5
from tests.training.runs import llama_trainer

DOWN = Group(scheme=W8A16(group_size=32), targets=["re:.*down_proj"])
REST = Group(scheme=W4A16(group_size=16), targets=["Linear"])
MIXED = Quantization(groups=[REST, DOWN])
OTHER_FORMATS = Quantization(groups=[Group(scheme="W8A8", targets=["re:.*mlp.*_proj"]), REST])
FIRST = "model.layers.0.mlp.down_proj"


def tokens():
    return torch.randint(3, 60, (2, 8), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def logits(model):
    return model(input_ids=tokens()).logits


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_module_belongs_to_the_group_that_names_it_else_to_its_class_in_any_order(order):
    groups = [(REST, DOWN)[place] for place in order]
    assert groups[group_of(groups, FIRST, nn.Linear(4, 4))] is DOWN
    assert groups[group_of(groups, "model.layers.0.mlp.up_proj", nn.Linear(4, 4))] is REST
    assert group_of(groups, "model.norm", nn.LayerNorm(4)) is None


def test_by_hand_each_layer_computes_with_its_own_grid():
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False), nn.Linear(2, 1, bias=False))
    for module in (model[0], model[2]):
        module.weight.data = torch.tensor([[7.5, 1.2]])
    prepare(
        model,
        Quantization(groups=[Group(scheme=W4A16(group_size=2), targets=["0"]), Group(scheme=W8A8(), targets=["2"])]),
    )
    assert model[0](torch.tensor([1.0, 10.0])).item() == 7 + 10  # steps of 1
    assert model[2].seen_weight().tolist()[0] == pytest.approx([127 * 7.5 / 127.5, 20 * 7.5 / 127.5])  # of 7.5 / 127.5
    assert type(model[1]) is nn.Linear


@pytest.mark.parametrize("quantization", [MIXED, OTHER_FORMATS], ids=["one format", "two formats"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_trained_is_what_plain_transformers_loads(quantization, dtype, tmp_path):
    trainer = llama_trainer(tmp_path / "run", {"quantization": quantization}, save_strategy="no")
    trainer.train()
    trained = {name: module.weight.detach().clone() for name, module in trainer.model.named_modules() if _linear(module)}
    model = trainer.finalize(dtype=dtype)
    save_compressed(model, tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert torch.equal(logits(loaded), logits(model.eval()))
    for name, weight in trained.items():  # unpacked by the first forward: the grid of the module's own group
        group = quantization.groups[group_of(quantization.groups, name, nn.Linear(1, 1))]
        args = group.scheme.to_compressed_tensors([]).weights
        expected = fake_quantize_weight(weight.to(getattr(torch, dtype)), args)
        if "lm_head" not in name:
            assert torch.equal(loaded.get_submodule(name).weight, expected), name


def _linear(module):
    return isinstance(module, nn.Linear)


def test_the_checkpoint_has_a_group_for_each_and_other_readers_of_it_agree(tmp_path):
    model = cast_weights(tiny_llama(), "bfloat16")
    quantize(model, OTHER_FORMATS)
    save_compressed(model, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())["quantization_config"]
    assert config["format"] == "mixed-precision"
    groups = {tuple(group["targets"]): group for group in config["config_groups"].values()}
    assert {targets: group["format"] for targets, group in groups.items()} == {
        ("Linear",): "pack-quantized",
        ("re:.*mlp.*_proj",): "int-quantized",
    }
    source = DequantizedSource(open_source(tmp_path / "model", "it"))
    for name in source.quantized:
        read = source.read(f"{name}.weight")
        args = source.scheme(name).weights
        assert (args.num_bits, args.group_size) == ((8, None) if ".mlp." in name else (4, 16))
        assert torch.equal(read, fake_quantize_weight(model.get_submodule(name).weight.detach(), args)), name


def test_the_sizes_and_the_report_say_both(tmp_path):
    model = cast_weights(tiny_llama(), "bfloat16")
    quantize(model, MIXED)
    size = measure_size(save_compressed(model, tmp_path / "model"))
    down, rest = 2 * 32 * 64, 2 * (32 * 32 * 2 + 16 * 32 * 2 + 64 * 32 * 2)
    # int8: a byte a weight and a bf16 scale per 32; int4: half a byte and one per 16; two int64 a layer for the shape.
    assert size["quantized_bytes"] == down + down // 32 * 2 + rest // 2 + rest // 16 * 2 + 14 * 16
    assert size["quantized_bf16_bytes"] == 2 * (down + rest)
    assert scheme_counts(model) == {"W4A16 (group_size 16)": 12, "W8A16 (group_size 32)": 2}
    (sentence,) = describe_reach(model, None)
    assert sentence.startswith("quantized 14 of 15 Linear, ")
    assert sentence.endswith("; W4A16 (group_size 16) in 12, W8A16 (group_size 32) in 2")
    assert measure_shares(model, None)["quantized_share"] == pytest.approx(
        (down + rest) / sum(p.numel() for n, p in tiny_llama().named_parameters() if p.dim() > 1)
    )
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert stored[f"{FIRST}.weight_packed"].shape == (32, 64 // 4)


def test_one_group_is_the_long_form_of_scheme_and_targets():
    short = Quantization(scheme="W8A8", targets=["re:.*mlp.*_proj"])
    assert Quantization(groups=[Group(scheme="W8A8", targets=["re:.*mlp.*_proj"])]) == short
    assert dump(short, full=True) == {
        "scheme": {"name": "W8A8", "group_size": None},
        "begin": "0%",
        "targets": ["re:.*mlp.*_proj"],
        "ignore": list(short.ignore),
    }


@pytest.mark.parametrize("full", [False, True])
def test_a_recipe_writes_and_reads_groups(full):
    plain, problems = json.loads(json.dumps(dump(MIXED, full))), []
    assert build(Quantization, plain, "quantization", problems) == MIXED, problems
    assert not {"scheme", "targets"} & plain.keys()
    assert dump(MIXED)["groups"][0] == {"scheme": {"name": "W4A16", "group_size": 16}, "targets": ["Linear"]}


@pytest.mark.parametrize(
    ("plain", "path", "message"),
    [
        ({"groups": [{"targets": ["Linear"]}]}, "quantization.groups.0.scheme", "is missing"),
        ({"groups": [{"scheme": "W4A16"}]}, "quantization.groups.0.targets", "is missing"),
        ({"groups": [{"scheme": "W4A61", "targets": ["Linear"]}]}, "quantization.groups.0.scheme", "did you mean 'W4A16'"),
        ({"groups": [{"scheme": "W4A16", "targets": []}]}, "quantization.groups.0", "targets is empty; name what to"),
        ({"groups": [dump(REST)], "scheme": "W4A16"}, "quantization", "scheme and targets beside it mean nothing"),
        ({"groups": [dump(REST)], "targets": ["Linear"]}, "quantization", "scheme and targets beside it mean nothing"),
    ],
)
def test_groups_that_make_no_sense_are_refused_where_they_stand(plain, path, message):
    problems = []
    build(Quantization, json.loads(json.dumps(plain)), "quantization", problems)
    assert [problem.path for problem in problems] == [path] and message in problems[0].message


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["re:.*up_proj"], r"groups\.1\.targets: 're:\.\*gone' matches no module; the model has Embedding x1, Linear x15"),
        (
            ["re:.*lm_head"],
            r"quantization\.groups\.1: every module that targets=\['re:\.\*lm_head'\] matches is ignored, left",
        ),
    ],
)
def test_a_group_that_matches_nothing_is_refused_by_its_place(targets, message):
    targets = [*targets, "re:.*gone"] if "gone" in message else targets
    groups = [REST, Group(scheme="W8A8", targets=targets)]
    with pytest.raises(CompressionError, match=message):
        prepare(tiny_llama(), Quantization(groups=groups))


@pytest.mark.parametrize(
    ("targets", "how"), [(["re:.*mlp.*_proj"], "by its name"), ([FIRST], "by its name"), (["Linear"], "by its class")]
)
def test_a_module_in_two_groups_is_refused_by_its_name(targets, how):
    also = DOWN if how == "by its name" else REST
    with pytest.raises(CompressionError, match=rf"is in groups 0 and 1, both {how}; a module belongs to the group that"):
        prepare(tiny_llama(), Quantization(groups=[also, Group(scheme="W8A8", targets=targets)]))


def test_a_group_size_that_does_not_divide_is_refused_in_its_group():
    groups = [REST, Group(scheme=W8A16(), targets=["re:.*down_proj"])]
    with pytest.raises(CompressionError, match=r"the 64 inputs of .*down_proj; set groups\.1\.scheme\.group_size to 64"):
        prepare(tiny_llama(), Quantization(groups=groups))


def test_a_checkpoint_of_other_groups_is_not_resumed(tmp_path):
    llama_trainer(tmp_path, {"quantization": MIXED}, max_steps=3).train()
    changed = Quantization(groups=[REST, Group(scheme=W8A16(group_size=16), targets=DOWN.targets)])
    with pytest.raises(CompressionError, match=r'with quantization=.*"group_size": 32.*resume with the same settings'):
        llama_trainer(tmp_path, {"quantization": changed}, max_steps=6).train(resume_from_checkpoint=True)
    llama_trainer(tmp_path, {"quantization": MIXED}, max_steps=6).train(resume_from_checkpoint=True)


def test_several_schemes_are_unpacked_in_the_first_forward_because_loading_knows_one_group_only(tmp_path, caplog):
    model = tiny_bart().eval()
    with caplog.at_level(logging.WARNING):
        quantize(model, Quantization(groups=[REST, Group(scheme=W8A16(group_size=32), targets=["re:.*fc2"])]))
    assert any("call model(...) once before generate()" in message for message in caplog.messages)
    save_compressed(model, tmp_path / "model")
    assert "dequantize" not in json.loads((tmp_path / "model" / "config.json").read_text())["quantization_config"]
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        ids = {"input_ids": tokens(), "decoder_input_ids": tokens()}
        assert torch.equal(loaded(**ids).logits, model(**ids).logits)


def test_an_architecture_that_only_loads_unpacked_is_refused_with_the_schemes_that_do():
    groups = [REST, Group(scheme=W8A16(group_size=32), targets=["re:.*\\.wo"])]
    message = r"would not load t5 with scheme W4A16 and W8A16 \(.*\); take .*W4A16"
    with pytest.raises(CompressionError, match=message):
        prepare(tiny_t5(), Quantization(groups=groups))
