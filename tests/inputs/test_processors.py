"""Image processors of architectures."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.inputs.processors import load_image_processor
from hf_compress.inputs.sections import FreshModel
from tests.small import LLAMA
from tests.tiny import tiny_llama, tiny_vit


def test_the_image_processor_of_fresh_weights_makes_the_models_size():
    processor = load_image_processor(FreshModel(config={"model_type": "vit"}), tiny_vit().config)
    assert processor(torch.zeros(3, 20, 30), return_tensors="pt")["pixel_values"].shape == (1, 3, 8, 8)
    with pytest.raises(CompressionError, match="llama has no image processor"):
        load_image_processor(FreshModel(config=LLAMA), tiny_llama().config)


def test_a_folder_without_a_processor_says_what_it_lacks(tmp_path):
    tiny_vit().save_pretrained(tmp_path)
    with pytest.raises(CompressionError) as refusal:
        load_image_processor(str(tmp_path), tiny_vit().config)
    assert str(refusal.value) == (
        f"model: the folder {tmp_path} holds no image processor (preprocessor_config.json); save that of the model"
        " there with save_pretrained"
    )
