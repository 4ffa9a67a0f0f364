"""ViT's row."""

from hf_compress.architectures.vit import DeiT, ViT
from tests.architectures.small import small_model


def test_a_heads_size_that_the_class_declares_no_key_for_is_read_and_kept_on_disk(tmp_path):
    model = small_model(ViT(), head_dim=4)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.vit.layers[0].attention.o_proj.in_features == 16 and loaded.config.head_dim == 4


def test_deits_parts_are_where_vits_are():
    assert DeiT().stacks(None) == ViT().stacks(None)
