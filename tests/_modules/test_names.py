"""What modules are called."""

from hf_compress._modules.names import block_of


def test_a_block_is_a_name_up_to_its_first_number():
    assert block_of("model.layers.13.mlp.experts.5.w1") == "model.layers.13"
    assert block_of("vit.encoder.layer.0.attention.query") == "vit.encoder.layer.0"
    assert block_of("0") == "0" and block_of("0.fc2") == "0"
    assert block_of("projection") == "projection" and block_of("model.fc1") == "model.fc1"
