"""Every row of the table of architectures shrunk: against the model with zeros, on disk, and in use."""

import copy
import subprocess
import sys

import pytest
import torch

from hf_compress import CompressionError, ShrinkPlan, choose_parts, shrink
from hf_compress._modules.module_kind import is_transposed
from hf_compress.architectures.architecture import Architecture
from tests.architectures.small import HEADS, WIDTH, auto_class, small_batch, small_model

ROWS = [known() for known in Architecture.available().values()]
WRITERS = [row for row in ROWS if row.name in ("llama", "mistral", "qwen2", "qwen3", "gpt2", "opt")]
each = pytest.mark.parametrize("architecture", ROWS, ids=lambda row: row.name)


def halved(architecture, **changes):
    """Half of everything that this architecture can lose, whichever layers."""
    heads = {"heads": HEADS // 2} if architecture.attention.head_size else {}
    return ShrinkPlan(**{"feed_forward": WIDTH // 2, "layers": [0, 3], **heads, **changes})


def zeroed(model, architecture, choice):
    """The reference: the same model with zeros in the columns that read what goes, and layers that hand on their input."""
    model = copy.deepcopy(model)
    _, blocks = architecture.block_list(model)
    dimensions, kept = choice.made_for, choice.kept

    def zero(block, name, places, size):
        module = block.get_submodule(name)
        columns = module.weight.data if is_transposed(module) else module.weight.data.t()
        for place in set(range(columns.shape[0] // size)) - set(places):
            columns[place * size : (place + 1) * size] = 0

    def hand_on(module, args, kwargs, output):
        entered = args[0] if args else kwargs["hidden_states"]
        return (entered, *output[1:]) if isinstance(output, tuple) else entered

    for place, block in enumerate(blocks):
        if place not in kept.layers:
            block.register_forward_hook(hand_on, with_kwargs=True)
            continue
        new = kept.layers.index(place)
        if kept.units:
            zero(block, architecture.feed_forward.output, kept.units[new], 1)
        if kept.groups:
            size = dimensions.head_size * dimensions.per_group
            zero(block, architecture.attention.output, kept.groups[new], size)
    return model


def logits(model, batch):
    with torch.no_grad():
        return model(**batch, **({"use_cache": False} if hasattr(model.config, "use_cache") else {})).logits


@each
@pytest.mark.parametrize("part", ["feed_forward", "layers", "heads", "all"])
def test_a_shrunk_model_computes_what_the_model_does_with_zeros_where_parts_go(architecture, part):
    model = small_model(architecture)
    whole = {"feed_forward": None, "layers": None, "heads": None}
    if part == "heads" and not architecture.attention.head_size:
        with pytest.raises(CompressionError, match="has no key for the size of a head.*legal for this .*: 4, all of them"):
            choose_parts(model, ShrinkPlan(heads=2))
        return
    asked = {} if part == "all" else {**whole, part: getattr(halved(architecture), part)}
    choice = choose_parts(model, halved(architecture, **asked))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small, batch = shrink(model, choice), small_batch(model)
    reference, plain = logits(zeroed(model, architecture, choice), batch), logits(model, batch)
    torch.testing.assert_close(logits(small, batch), reference, atol=1e-5, rtol=1e-5)  # sums in another order
    assert (reference - plain).abs().max() > 1e-2  # what went counted
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@each
def test_it_is_smaller_by_what_was_said_before(architecture):
    model = small_model(architecture)
    choice = choose_parts(model, halved(architecture))
    small = shrink(model, choice)
    for size, one in ((choice.before, model), (choice.after, small)):
        parameters = list(one.parameters())
        assert size.parameters == sum(parameter.numel() for parameter in parameters)
        assert size.parameter_bytes == 4 * size.parameters
    assert choice.after.parameters < choice.before.parameters and choice.after.macs < choice.before.macs
    shared = {value.data_ptr() for value in model.state_dict().values()}
    assert not shared & {value.data_ptr() for value in small.state_dict().values()}


@each
def test_it_saves_and_loads_with_the_stock_auto_class_to_the_same_bits(architecture, tmp_path):
    model = small_model(architecture)
    small = shrink(model, halved(architecture))
    small.save_pretrained(tmp_path)
    loaded, info = auto_class(model.config).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert torch.equal(logits(loaded.eval(), small_batch(model)), logits(small, small_batch(model)))
    weights, whole = tmp_path / "model.safetensors", tmp_path / "whole"
    model.save_pretrained(whole)
    assert weights.stat().st_size < 0.8 * (whole / weights.name).stat().st_size


@pytest.mark.parametrize("architecture", WRITERS, ids=lambda row: row.name)
def test_it_generates_with_a_cache_what_it_would_without_one(architecture):
    model = small_model(architecture)
    small = shrink(model, halved(architecture))
    prompt = small_batch(model, length=5)["input_ids"]
    written = [small.generate(prompt, do_sample=False, max_new_tokens=12, use_cache=cache) for cache in (True, False)]
    assert torch.equal(*written) and written[0].shape[1] > 5
    assert small.generation_config.to_dict() == model.generation_config.to_dict()


def test_transformers_alone_loads_and_runs_them(tmp_path):
    for row in ROWS:
        model = small_model(row)
        small = shrink(model, halved(row))
        small.save_pretrained(tmp_path / row.name)
        torch.save([small_batch(model), logits(small, small_batch(model))], tmp_path / row.name / "expected.pt")
    code = f"""
import sys, pathlib, torch, transformers
for folder in sorted(pathlib.Path({str(tmp_path)!r}).iterdir()):
    config = transformers.AutoConfig.from_pretrained(folder)
    batch, expected = torch.load(folder / "expected.pt")
    cls = getattr(transformers, config.architectures[0])
    auto = {{"MaskedLM": "AutoModelForMaskedLM", "ImageClassification": "AutoModelForImageClassification"}}
    auto = next((name for end, name in auto.items() if cls.__name__.endswith(end)), "AutoModelForCausalLM")
    model = getattr(transformers, auto).from_pretrained(folder).eval()
    assert type(model) is cls
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, expected), folder
assert "hf_compress" not in sys.modules
print("loaded", len(list(pathlib.Path({str(tmp_path)!r}).iterdir())))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == f"loaded {len(ROWS)}", done.stderr


@each
def test_it_trains(architecture):
    small = shrink(small_model(architecture), halved(architecture)).train()
    small(**small_batch(small)).logits.square().sum().backward()
    inside = [parameter for _, parameter in architecture.block_list(small)[1].named_parameters()]
    assert all(parameter.grad is not None for parameter in inside)
