"""OpenVINO, run by itself."""

import pytest
import torch

from hf_compress.checkpoints.exported import missing_packages
from hf_compress.export.formats.openvino import OpenVinoFormat
from tests.tiny import tiny_vit


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_packages("openvino")), reason=missing_packages("openvino"))
def test_the_runtime_gives_the_model_s_numbers_for_another_number_of_rows(tmp_path):
    form, model = OpenVinoFormat(), tiny_vit().eval()
    loaded = form.load(type(model), form.save(model, tmp_path / "model"))
    pixels = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, found = model(pixel_values=pixels).logits, loaded(pixel_values=pixels).logits
    torch.testing.assert_close(found, wanted, rtol=0, atol=form.tolerance * wanted.abs().max().item())


def test_its_files_are_those_that_hold_weights(tmp_path):
    files = {"openvino": ["openvino_model.bin", "openvino_model.xml"], "executorch": ["model.pte"]}["openvino"]
    for file in [*files, "config.json", "model.safetensors", "export.json"]:
        (tmp_path / file).touch()
    assert [file.name for file in OpenVinoFormat().weight_files(tmp_path)] == files
