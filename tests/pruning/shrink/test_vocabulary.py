"""Vocabulary rows: the same pieces and logits on the corpus, ids everywhere, and what is refused."""

import copy
import os
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from hf_compress import CompressionError, shrink_vocabulary
from tests.alone import alone

REAL = Path(os.environ.get("HF_COMPRESS_DATA", Path(__file__).parents[3] / "data")) / "models" / "stories260K"
CORPUS = [
    "the cat sat on the mat, and the dog barked at the cat.",
    "a small red bird sang in the old tree while the sun was low",
    "numbers like 12 and 345 and 6789 came too; who would have thought?",
    "naïve café übers Öl, déjà vu 東京 🙂",
]
USED, UNUSED = CORPUS[:2], CORPUS[2:]


def byte_level_bpe():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS * 3, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{f"{name}_token": token for name, token in names.items()})


def model_for(tokenizer, extra=0):
    """Of the kind that such a tokenizer comes with, with `extra` rows more than it has pieces."""
    torch.manual_seed(0)
    size = {"vocab_size": len(tokenizer) + extra}
    if tokenizer.mask_token:
        return BertForMaskedLM(
            BertConfig(**size, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
        ).eval()
    if tokenizer.bos_token is None:
        config = T5Config(**size, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
        return T5ForConditionalGeneration(config).eval()
    config = LlamaConfig(
        **size, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, bos_token_id=1,
        eos_token_id=[2, tokenizer.convert_tokens_to_ids("Ġcat")], pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def logits(model, ids):
    batch = {"input_ids": ids}
    with torch.no_grad():
        return model(**batch, **({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})).logits


@pytest.mark.parametrize("kind", [byte_level_bpe, unigram, wordpiece])
def test_the_corpus_has_the_same_pieces_and_every_piece_that_stays_the_same_logits(kind, tmp_path):
    tokenizer = kind()
    model = model_for(tokenizer, extra=7)
    before, vocabulary = copy.deepcopy(model.state_dict()), tokenizer.get_vocab()
    smaller = shrink_vocabulary(model, tokenizer, USED)
    small, kept = smaller.model, list(smaller.kept)
    assert len(kept) < len(tokenizer) < smaller.rows_before == len(tokenizer) + 7
    assert len(smaller.tokenizer) == small.config.vocab_size == small.get_input_embeddings().weight.shape[0] == len(kept)
    assert torch.equal(small.get_input_embeddings().weight, model.get_input_embeddings().weight[kept])
    for text in USED:
        old, new = tokenizer(text)["input_ids"], smaller.tokenizer(text)["input_ids"]
        assert [kept[index] for index in new] == old
        assert smaller.tokenizer.convert_ids_to_tokens(new) == tokenizer.convert_ids_to_tokens(old)
        assert smaller.tokenizer.decode(new) == tokenizer.decode(old)
        expected = logits(model, torch.tensor([old]))[..., kept]
        torch.testing.assert_close(logits(small, torch.tensor([new])), expected, atol=1e-6, rtol=1e-5)
    for text in UNUSED:  # is written with more pieces, and says the same
        assert smaller.tokenizer.decode(smaller.tokenizer(text)["input_ids"]) == tokenizer.decode(
            tokenizer(text)["input_ids"]
        )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert tokenizer.get_vocab() == vocabulary


def test_ids_follow_their_tokens_in_both_configs():
    tokenizer = byte_level_bpe()
    model = model_for(tokenizer)
    cat = tokenizer.convert_tokens_to_ids("Ġcat")
    model.generation_config.suppress_tokens = [cat, 5]
    model.generation_config.forced_eos_token_id = tokenizer.convert_tokens_to_ids("Ġ12")  # which no text of the corpus has
    smaller = shrink_vocabulary(model, tokenizer, ["a"], keep=["Ġdog"])
    names = smaller.tokenizer.convert_ids_to_tokens
    assert names(smaller.model.config.eos_token_id) == ["</s>", "Ġcat"]
    assert names(smaller.model.generation_config.eos_token_id) == ["</s>", "Ġcat"]
    assert names(smaller.model.generation_config.suppress_tokens) == tokenizer.convert_ids_to_tokens([cat, 5])
    assert names(smaller.model.generation_config.forced_eos_token_id) == "Ġ12"
    assert "Ġdog" in smaller.tokenizer.get_vocab()
    assert model.config.eos_token_id == [2, cat]


@pytest.mark.skipif(not REAL.exists(), reason="stories260K is not here")
def test_transformers_alone_loads_and_generates_with_a_trained_models_smaller_vocabulary(tmp_path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(REAL).eval(), AutoTokenizer.from_pretrained(REAL)
    texts = ["Once upon a time, there was a little girl named Lily. She loved to play outside in the sun.", "The end."]
    smaller = shrink_vocabulary(model, tokenizer, texts)
    assert 256 < len(smaller.kept) < 400 and smaller.model.lm_head.weight is smaller.model.model.embed_tokens.weight
    assert smaller.bytes_before - smaller.bytes_after == 4 * 64 * (512 - len(smaller.kept))
    assert f"{len(smaller.kept)} of 512 rows of the vocabulary stay; bytes: 1,040,128 -> " in smaller.describe()
    smaller.model.save_pretrained(tmp_path)
    smaller.tokenizer.save_pretrained(tmp_path)
    expected = logits(model, tokenizer(texts[0], return_tensors="pt").input_ids)[0, -1, list(smaller.kept)]
    torch.save(expected, tmp_path / "expected.pt")
    code = f"""
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained({str(tmp_path)!r}), AutoTokenizer.from_pretrained({str(tmp_path)!r})
batch = tokenizer({texts[0]!r}, return_tensors="pt")
assert tokenizer.decode(batch.input_ids[0], skip_special_tokens=True) == {texts[0]!r}
with torch.no_grad():
    found, expected = model(**batch).logits[0, -1], torch.load({str(tmp_path / "expected.pt")!r})
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
assert model.generate(**batch, max_new_tokens=3, do_sample=False).shape[1] == batch.input_ids.shape[1] + 3
assert tokenizer("zebra 東")["input_ids"] and "hf_compress" not in sys.modules
print("loaded")
"""
    assert "loaded\n" in alone(tmp_path, code)


@pytest.mark.parametrize(
    ("texts", "more", "said"),
    [
        ("one text", {}, r"texts is one string; give an iterable of texts"),
        ([], {}, "texts holds none"),
        ([3], {}, "what is no text"),
        (["a"], {"keep": ["Ġzebra"]}, r"keep=\['Ġzebra'\]: the tokenizer has no such piece"),
    ],
)
def test_what_is_no_corpus_and_unknown_pieces_are_refused(texts, more, said):
    tokenizer = byte_level_bpe()
    with pytest.raises(CompressionError, match=said):
        shrink_vocabulary(model_for(tokenizer), tokenizer, texts, **more)


def test_a_tokenizer_of_another_model_of_another_kind_and_a_slow_one_are_refused():
    tokenizer = byte_level_bpe()
    last = len(tokenizer) - 1
    with pytest.raises(CompressionError, match=f"has a piece of id {last}, and the model {last - 1} rows of embeddings"):
        shrink_vocabulary(model_for(tokenizer, extra=-2), tokenizer, USED)
    with pytest.raises(CompressionError, match="int is no fast tokenizer"):
        shrink_vocabulary(model_for(tokenizer), 3, USED)
    marked = Tokenizer(models.BPE({"a</w>": 0, "a": 1}, [], end_of_word_suffix="</w>"))
    with pytest.raises(
        CompressionError, match="a BPE tokenizer with end_of_word_suffix='</w>' is not one whose merges can"
    ):
        shrink_vocabulary(model_for(tokenizer), PreTrainedTokenizerFast(tokenizer_object=marked), USED)
