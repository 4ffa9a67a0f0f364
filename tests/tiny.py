"""Tiny models and a tiny tokenizer, built from configs; the same seed gives the same weights."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

VOCAB = 64


def _seeded(build, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def tiny_llama(seed=0, **changes):
    settings = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return _seeded(lambda: LlamaForCausalLM(LlamaConfig(**{**settings, **changes})), seed)


def tiny_gpt2(seed=0, **changes):
    settings = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    config = GPT2Config(**{**settings, "bos_token_id": 1, "eos_token_id": 2, **changes})
    return _seeded(lambda: GPT2LMHeadModel(config), seed)


def tiny_bert(seed=0, num_labels=3, cls=BertForSequenceClassification, **changes):
    config = BertConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        num_labels=num_labels,
        pad_token_id=0,
        **changes,
    )
    return _seeded(lambda: cls(config), seed)


def tiny_vit(seed=0, num_labels=3):
    config = ViTConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=8,
        patch_size=4,
        num_labels=num_labels,
    )
    return _seeded(lambda: ViTForImageClassification(config), seed)


def tiny_t5(seed=0, **changes):
    config = T5Config(
        **{
            "vocab_size": VOCAB,
            "d_model": 32,
            "d_ff": 64,
            "d_kv": 8,
            "num_layers": 2,
            "num_heads": 4,
            "decoder_start_token_id": 0,
            "pad_token_id": 0,
            "eos_token_id": 2,
            **changes,
        }
    )
    return _seeded(lambda: T5ForConditionalGeneration(config), seed)


def tiny_bart(seed=0):
    config = BartConfig(
        vocab_size=VOCAB,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
    )
    return _seeded(lambda: BartForConditionalGeneration(config), seed)


def tiny_tokenizer():
    """One token per character, 64 entries, with padding, start and end."""
    characters = "abcdefghijklmnopqrstuvwxyz0123456789 .,:;!?-_'\"()/+*=<>"
    words = ["<pad>", "<s>", "</s>", "<unk>", *characters]
    vocabulary = {word: index for index, word in enumerate(words[:VOCAB])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def tiny_reader(seed=0):
    """Finds answers in a text."""
    from transformers import BertForQuestionAnswering

    return _seeded(lambda: BertForQuestionAnswering(tiny_bert(num_labels=2).config), seed)


def tiny_listener(seed=0, **changes):
    """Writes down what it hears; a layer norm, so that an utterance is heard alike in any company."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    config = Wav2Vec2Config(
        **{
            "vocab_size": 8,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "conv_dim": (8, 8),
            "conv_kernel": (10, 3),
            "conv_stride": (5, 2),
            "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2,
            "feat_extract_norm": "layer",
            "do_stable_layer_norm": True,
            "apply_spec_augment": False,
            "layerdrop": 0.0,
            "pad_token_id": 0,
            "ctc_loss_reduction": "mean",
            **changes,
        }
    )
    return _seeded(lambda: Wav2Vec2ForCTC(config), seed)


def tiny_hearer(seed=0, num_labels=3, **changes):
    """Says what kind of sound it hears, alike in any company."""
    from transformers import Wav2Vec2ForSequenceClassification

    config = tiny_listener(num_labels=num_labels, classifier_proj_size=16, **changes).config
    return _seeded(lambda: Wav2Vec2ForSequenceClassification(config), seed)


def tiny_whisper(seed=0, **changes):
    """Writes down a second of sound."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        **{
            "vocab_size": VOCAB,
            "num_mel_bins": 16,
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_source_positions": 50,
            "max_target_positions": 64,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
            "begin_suppress_tokens": [5],
            **changes,
        }
    )
    return _seeded(lambda: WhisperForConditionalGeneration(config), seed)
