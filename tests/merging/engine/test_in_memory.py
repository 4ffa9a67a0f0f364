from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.source import open_source
from hf_compress.merging.engine.in_memory import load_merged, merge_state_dicts, on_model
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.methods.fisher import Fisher
from hf_compress.merging.methods.iso_c import IsoC
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.methods.slerp import Slerp
from hf_compress.merging.operands import CHUNK
from tests.merging.zoo import make
from tests.tiny import tiny_llama, tiny_vit


def state(value, **more):
    return {"w": torch.full((2, 3), value), "b": torch.full((3,), value, dtype=torch.bfloat16), **more}


def test_weights_may_depend_on_the_tensor_and_the_stored_type_is_kept():
    merged = merge_state_dicts(
        Linear(), {"a": state(0.0), "b": state(4.0)}, weights=lambda name: (1.0, 3.0) if name == "w" else (1.0, 1.0)
    )
    assert torch.equal(merged["w"], torch.full((2, 3), 3.0))
    assert torch.equal(merged["b"], torch.full((3,), 2.0, dtype=torch.bfloat16))


def test_long_tensors_are_merged_in_chunks_with_the_same_survey():
    members = {
        label: {"w": torch.randn(CHUNK + 5, generator=torch.Generator().manual_seed(n))} for n, label in enumerate("ab")
    }
    merged = merge_state_dicts(Slerp(), members)["w"]
    a, b = (one["w"].double() for one in members.values())
    angle = torch.acos(a @ b / (a.norm() * b.norm()))
    torch.testing.assert_close(merged, ((a + b) * torch.sin(angle / 2) / torch.sin(angle)).float(), atol=1e-6, rtol=1e-5)


def test_statistics_reach_the_tensors_that_all_members_have_them_for():
    members = {"a": state(0.0), "b": state(4.0)}
    fishers = [{"w": torch.full((2, 3), 3.0), "b": torch.ones(3)}, {"w": torch.ones(2, 3)}]
    merged = merge_state_dicts(Fisher(), members, statistics={"fisher": fishers})
    assert torch.equal(merged["w"], torch.ones(2, 3))
    assert torch.equal(merged["b"], torch.full((3,), 2.0, dtype=torch.bfloat16))


def test_other_parameters_of_members_come_from_the_method_unless_given():
    @dataclass(frozen=True, kw_only=True)
    class Spread(MergeMethod):
        power: float = 2.0
        per_member: ClassVar[tuple[str, ...]] = ("weight", "power")

        def merge(self, operands, survey):
            return operands.tensors[0] * 0 + sum(operands.values["power"])

    members = {"a": {"w": torch.zeros(2)}, "b": {"w": torch.zeros(2)}}
    assert merge_state_dicts(Spread(), members)["w"].tolist() == [4.0, 4.0]
    assert merge_state_dicts(Spread(), members, values={"power": (1.0, 0.5)})["w"].tolist() == [1.5, 1.5]


def test_folders_merge_like_state_dicts_and_load_under_either_names(tmp_path):
    models = [tiny_vit(seed=0), tiny_vit(seed=1)]
    sources = {}
    for number, model in enumerate(models):
        model.save_pretrained(tmp_path / str(number))
        sources[f"m{number}"] = open_source(tmp_path / str(number), f"m{number}")
    of_folders = merge_state_dicts(Linear(), sources)
    assert "vit.encoder.layer.0.attention.attention.query.weight" in of_folders
    of_models = merge_state_dicts(Linear(), {str(n): model.state_dict() for n, model in enumerate(models)})
    loaded = load_merged(tiny_vit(seed=2), of_folders)
    in_place = tiny_vit(seed=3)
    assert load_merged(in_place, of_models) is in_place
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, in_place.get_parameter(name)), name


def test_a_tied_weight_may_be_left_out_and_no_other():
    model = tiny_llama(tie_word_embeddings=True)
    tensors = {name: one.clone() for name, one in model.state_dict().items() if name != "lm_head.weight"}
    score = on_model(model, lambda one: float(one.lm_head.weight.detach().sum()))
    assert score(tensors) == pytest.approx(float(tensors["model.embed_tokens.weight"].sum()))
    del tensors["model.norm.weight"]
    with pytest.raises(CompressionError, match=r"model.norm.weight of LlamaForCausalLM is missing"):
        load_merged(model, tensors)


def test_integers_are_copied_when_they_agree():
    ids = torch.arange(3)
    merged = merge_state_dicts(Linear(), {"a": state(0.0, ids=ids), "b": state(1.0, ids=ids.clone())})
    assert torch.equal(merged["ids"], ids)
    with pytest.raises(CompressionError, match="ids holds integers that differ"):
        merge_state_dicts(Linear(), {"a": state(0.0, ids=ids), "b": state(1.0, ids=ids + 1)})


def test_models_with_batch_norm_that_saw_other_numbers_of_batches_make_a_soup():
    models = {name: make("ResNet", seed) for seed, name in enumerate("ab")}
    for batches, model in enumerate(models.values(), start=3):
        for name, buffer in model.named_buffers():
            if name.endswith("num_batches_tracked"):
                buffer.fill_(batches)
    merged = merge_state_dicts(Linear(), {name: model.state_dict() for name, model in models.items()})
    counters = {int(tensor) for name, tensor in merged.items() if name.endswith("num_batches_tracked")}
    assert counters == {3}
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert load_merged(models["a"], merged)(pixel_values=pixels).logits.isfinite().all()


@pytest.mark.parametrize(
    ("method", "members", "message"),
    [
        (Linear(), {"a": state(0.0), "b": {"w": torch.ones(2, 3)}}, "b and a differ: only one of them has b"),
        (Linear(), {"a": state(0.0), "b": state(0.0, w=torch.ones(1, 3))}, r"w has the shape \(1, 3\) in b"),
        (Linear(), {}, "linear merges 1 to any number of members beside the base, and 0 are given"),
        (IsoC(), {"a": state(0.0)}, "iso_c merges task vectors; name the base model"),
        (Fisher(), {"a": state(0.0)}, "fisher needs the statistic 'fisher' of every member; measure it with"),
    ],
)
def test_members_that_do_not_fit_are_refused(method, members, message):
    with pytest.raises(CompressionError, match=message):
        merge_state_dicts(method, members)


@pytest.mark.parametrize("as_checkpoints", [True, False])
def test_a_tied_and_an_untied_model_have_two_weights_and_are_loaded_with_two(as_checkpoints, tmp_path):
    models = {name: tiny_llama(seed, tie_word_embeddings=name == "tied") for seed, name in enumerate(("tied", "untied"))}
    members = {name: model.state_dict() for name, model in models.items()}
    if as_checkpoints:
        for name, model in models.items():
            model.save_pretrained(tmp_path / name)
        members = {name: open_source(tmp_path / name, name) for name in models}
    merged = merge_state_dicts(Linear(), members)
    loaded = load_merged(models["tied"], merged)
    assert not loaded.config.tie_word_embeddings and models["tied"].config.tie_word_embeddings
    tied, untied = (model.state_dict() for model in models.values())
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor.double(), (tied[name].double() + untied[name].double()) / 2, rtol=1e-6, atol=1e-8)
