"""Whisper's row."""

from transformers import WhisperForAudioClassification

from hf_compress import ShrinkPlan, choose_parts, shrink
from hf_compress.architectures.whisper import Whisper
from tests.architectures.small import small_batch, small_config, small_model


def test_norms_before_the_parts_are_read_by_them():
    encoder, decoder = Whisper().stacks(None)
    assert encoder.norm_readers["final_layer_norm"] == decoder.norm_readers["final_layer_norm"] == ("fc1",)
    assert decoder.norm_readers["encoder_attn_layer_norm"] == ("encoder_attn.q_proj",)


def test_a_classifier_has_the_encoder_alone():
    model = WhisperForAudioClassification(small_config(Whisper())).eval()
    small = shrink(model, ShrinkPlan(feed_forward=0.5, layers=[1, 2]))
    assert (small.config.encoder_layers, small.config.encoder_ffn_dim, small.config.decoder_ffn_dim) == (2, 12, 24)


def test_layers_of_both_stacks_are_chosen_by_what_is_heard_and_written():
    model = small_model(Whisper())
    choice = choose_parts(model, ShrinkPlan(layers=0.5, feed_forward=0.5), [small_batch(model)])
    assert [len(stack.layers) for stack in choice.kept.stacks] == [2, 2] and choice.importance == "activations"
    assert set(choice.influence) == {"encoder", "decoder"}
    assert choice.row == "input_features (1, 8, 24) and decoder_input_ids (1, 8)"
