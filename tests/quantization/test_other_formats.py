"""A module that compressed-tensors does not pack, and a format of a user's own that holds it: trained to the end."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional

from hf_compress import W8A16, CompressionError, Group, Quantization
from hf_compress._modules.kinds.convolution import Convolution
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.quantization.fake_quantize import fake_quantize_weight
from hf_compress.quantization.fitting import check_model
from hf_compress.quantization.quantizable import FakeQuantized, Quantizable
from tests.training.runs import vit_trainer

SCHEME = W8A16(group_size=16)
BOTH = Quantization(groups=[Group(scheme=SCHEME, targets=[kind]) for kind in ("Conv2d", "Linear")], begin=0)


class FakePatches(FakeQuantized, nn.Conv2d):
    matrix_kind = Convolution()

    def forward(self, input):
        return functional.conv2d(input, self.seen_weight(), self.bias, self.stride)


@pytest.fixture
def patches(monkeypatch):
    """Convolutions can be trained quantized while the test runs."""
    monkeypatch.setattr(Quantizable, "_registry", {**Quantizable.available()})
    monkeypatch.setattr(ExportFormat, "_registry", {**ExportFormat.available()})

    @dataclass(frozen=True, kw_only=True)
    class QuantizablePatches(Quantizable, name="patches"):
        replaces = nn.Conv2d
        fake = FakePatches

        def obstacle(self, module, scheme):
            return "" if scheme.input_activations is None else "its inputs are images"


def test_without_a_format_that_holds_it_the_constructor_refuses_it(patches, tmp_path):
    message = r"projection is a Conv2d, and no export format of this run can hold it quantized \(compressed-tensors: "
    with pytest.raises(CompressionError, match=message):
        vit_trainer(tmp_path, {"quantization": BOTH})
    with pytest.raises(CompressionError, match=r"projection cannot be quantized: its inputs are images"):
        vit_trainer(tmp_path, {"quantization": Quantization(scheme="W8A8", targets=["Conv2d"])})


def test_with_one_it_is_trained_finalized_and_kept_out_of_other_checkpoints(patches, tmp_path):
    @dataclass(frozen=True, kw_only=True)
    class Own(ExportFormat, name="own"):
        def holds(self, module, scheme):
            return ""

    trainer = vit_trainer(tmp_path / "run", {"quantization": BOTH}, save_strategy="no")
    projection = trainer.model.vit.embeddings.patch_embeddings.projection
    before = projection.weight.detach().clone()
    trainer.train()
    assert not torch.equal(projection.weight, before)
    images = {"pixel_values": torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))}
    with torch.no_grad():
        trained = trainer.model.eval()(**images).logits
        model = trainer.finalize()
        assert torch.equal(model(**images).logits, trained)
    matrix = fake_quantize_weight(projection.weight.detach().flatten(1), SCHEME.to_compressed_tensors([]).weights)
    assert type(projection) is FakePatches and torch.equal(projection.seen_weight().flatten(1), matrix)
    assert [module for module in model.modules() if isinstance(module, FakeQuantized)] == [projection]
    for save in (trainer.save_model, model.save_pretrained):
        with pytest.raises(
            CompressionError, match="projection is quantized, and compressed-tensors does not pack modules of"
        ):
            save(str(tmp_path / "out"))


def test_the_format_of_a_recipe_is_asked_alone(patches):
    @dataclass(frozen=True, kw_only=True)
    class Own(ExportFormat, name="own"):
        def holds(self, module, scheme):
            return ""

    model = nn.Sequential(nn.Conv2d(4, 4, 2), nn.Linear(16, 16))
    assert list(check_model(model, BOTH, [Own()]).modules) == ["0", "1"]
    with pytest.raises(CompressionError, match="0 is a Conv2d, and no export format of this run can hold it quantized"):
        check_model(model, BOTH, [ExportFormat.create("compressed-tensors")])
