"""Tokenizers and processors of a result are those of the input they come from, whatever their files are called."""

import json
import shutil

import pytest
import tokenizers
import transformers as t

from hf_compress import CompressionError, Member, Merge, merge
from hf_compress.checkpoints import companion_names
from hf_compress.merging.configuration import Tokenizer
from hf_compress.merging.lora.apply import apply_adapters
from hf_compress.merging.members.readers import verify_readers
from tests.checkpoints.test_tied import SMALL, TEXT
from tests.merging.adapters import make_adapter
from tests.merging.checkpoints import word_tokenizer


def luke(folder):
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyzĠ"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    entities = {"[MASK]": 0, "[UNK]": 1, "[PAD]": 2, "[MASK2]": 3, "Tokyo": 4}
    (folder / "entity_vocab.json").write_text(json.dumps(entities))
    return "LukeTokenizer"


def phobert(folder):
    (folder / "vocab.txt").write_text("\n".join(f"{piece} 1" for piece in ("T@@", "h", "e</w>", "q", "u")))
    (folder / "bpe.codes").write_text("q u 3\nh e</w> 2\n")
    return "PhobertTokenizer"


def prophetnet(folder):
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "[X_SEP]", "the", "quick", "fox"]
    (folder / "prophetnet.tokenizer").write_text("\n".join(words))
    return "ProphetNetTokenizer"


def myt5(folder):
    maps = {"decompose_map": {"ff": "ff"}, "merge_map": {"fe": "fe"}}
    (folder / "byte_maps.json").write_text(json.dumps(maps))
    return "MyT5Tokenizer"


def roc_bert(folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "quick"]
    (folder / "vocab.txt").write_text("\n".join(words))
    for name in ("word_shape.json", "word_pronunciation.json"):
        (folder / name).write_text(json.dumps({word: number for number, word in enumerate(words)}))
    return "RoCBertTokenizer"


CLASSES = {function.__name__: function for function in (luke, phobert, prophetnet, myt5, roc_bert)}


def llama(folder):
    """Any model: the tokenizer's class stands in tokenizer_config.json."""
    t.LlamaForCausalLM(t.LlamaConfig(**TEXT)).save_pretrained(folder)
    return folder


def names_in(folder):
    return {entry.name for entry in folder.iterdir()}


def merged(folder, **settings):
    job = Merge(members=[Member(str(folder / "a")), Member(str(folder / "b"))], **settings)
    return merge(job, folder / "out", threads=1)


@pytest.mark.parametrize("name", CLASSES)
def test_a_tokenizer_with_files_of_its_own_reads_texts_as_before(name, tmp_path):
    for each in ("a", "b"):
        cls = CLASSES[name](llama(tmp_path / each))
        (tmp_path / each / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": cls}))
    result = merged(tmp_path)
    assert result.reports["files"] == {"read_by": f"tokenizer as in the input ({cls})"}
    before, after = (t.AutoTokenizer.from_pretrained(tmp_path / folder) for folder in ("a", "out"))
    assert type(after).__name__ == cls and after.get_vocab() == before.get_vocab()
    assert after("the quick fox").input_ids == before("the quick fox").input_ids
    make_adapter(t.LlamaForCausalLM.from_pretrained(tmp_path / "a"), tmp_path / "lora", target_modules=["q_proj"])
    applied = apply_adapters(tmp_path / "a", [tmp_path / "lora"], tmp_path / "applied")
    assert applied.readers == f"tokenizer as in the input ({cls})" and applied.readers in applied.summary()


def test_files_that_tokenizers_read_are_copied_and_others_are_named(tmp_path, caplog):
    files = ("source.spm", "target.spm", "bpe.codes", "tekken.json")
    for each in ("a", "b"):
        llama(tmp_path / each)
        for file in files:
            (tmp_path / each / file).write_text("stand-in")
        (tmp_path / each / "notes.txt").write_text("x")
        (tmp_path / each / "runs").mkdir()
        (tmp_path / each / "training_args.bin").write_text("x")
    with caplog.at_level("INFO", "hf_compress"):
        result = merged(tmp_path)
    lost = names_in(tmp_path / "a") - names_in(tmp_path / "out")
    assert lost == {"notes.txt", "runs", "training_args.bin"}
    assert f"not copied from {tmp_path / 'a'}: notes.txt, runs" in caplog.messages
    assert "not_copied notes.txt, runs" in result.summary()
    assert "tokenizer copied and not checked, as that of the input does not load" in result.reports["files"]["read_by"]
    manifest = json.loads((tmp_path / "out" / "compression.json").read_text())
    assert manifest["reports"]["files"] == result.reports["files"]


def test_files_that_the_settings_name_are_copied(tmp_path):
    for each in ("a", "b"):
        llama(tmp_path / each)
        word_tokenizer(["the"]).save_pretrained(tmp_path / each)
        settings = json.loads((tmp_path / each / "tokenizer_config.json").read_text())
        settings["extra"] = {"table": ["rules.dat", "config.json", "../elsewhere", "training_args.bin"]}
        (tmp_path / each / "tokenizer_config.json").write_text(json.dumps(settings))
        (tmp_path / each / "rules.dat").write_text("x")
        (tmp_path / each / "training_args.bin").write_text("x")
    merged(tmp_path)
    assert (tmp_path / "out" / "rules.dat").is_file() and not (tmp_path / "out" / "training_args.bin").exists()


def test_a_tokenizer_that_does_not_come_back_is_an_error_and_no_finished_folder(tmp_path, monkeypatch):
    for each in ("a", "b"):
        cls = phobert(llama(tmp_path / each))
        (tmp_path / each / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": cls}))
    without = tuple(name for name in companion_names.TOKENIZER if name != "bpe.codes")
    monkeypatch.setattr("hf_compress.checkpoints.companions.TOKENIZER", without)
    with pytest.raises(CompressionError, match=r"the tokenizer of the result is not that of .*a \(PhobertTokenizer\)"):
        merged(tmp_path)
    assert not (tmp_path / "out").exists()


def test_other_ids_for_a_text_are_found(tmp_path):
    for name, words in (("a", ["The", "quick"]), ("b", ["quick", "The"])):
        word_tokenizer(words).save_pretrained(tmp_path / name)
    assert verify_readers(tmp_path / "a", tmp_path / "a").startswith("tokenizer as in the input")
    with pytest.raises(CompressionError, match="another vocabulary"):
        verify_readers(tmp_path / "b", tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "c" / "tokenizer.json"))
    assert isinstance(backend.model, tokenizers.models.WordLevel)
    backend.pre_tokenizer = None
    backend.save(str(tmp_path / "c" / "tokenizer.json"))
    with pytest.raises(CompressionError, match="another ids of 'The quick"):
        verify_readers(tmp_path / "c", tmp_path / "a")


def test_a_processor_comes_back_like_the_tokenizer(tmp_path):
    for each in ("a", "b"):
        t.ViTModel(t.ViTConfig(image_size=16, patch_size=4, **SMALL)).save_pretrained(tmp_path / each)
        t.Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(tmp_path / each)
    result = merged(tmp_path)
    assert result.reports["files"] == {"read_by": "processor as in the input (Wav2Vec2FeatureExtractor)"}
    file = tmp_path / "out" / "preprocessor_config.json"
    file.write_text(file.read_text().replace("8000", "16000"))
    with pytest.raises(CompressionError, match="the processor of the result is not that of"):
        verify_readers(tmp_path / "out", tmp_path / "a")


def test_an_aligned_tokenizer_is_compared_with_what_was_written(tmp_path):
    for name, words in (("a", ["the", "quick"]), ("b", ["quick", "fox"])):
        config = t.LlamaConfig(**{**TEXT, "vocab_size": 6})
        t.LlamaForCausalLM(config).save_pretrained(tmp_path / name)
        word_tokenizer(words).save_pretrained(tmp_path / name)
    result = merged(tmp_path, tokenizer=Tokenizer(source="union"))
    assert result.reports["files"]["read_by"].startswith("tokenizer loads (")


def test_marian_with_two_sentencepiece_models_reads_as_before(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"the quick brown fox {number} jumps over the lazy dog" for number in range(200)))
    config = t.MarianConfig(
        vocab_size=64, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, pad_token_id=2,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, decoder_start_token_id=2, forced_eos_token_id=0,
    )  # fmt: skip
    for each in ("a", "b"):
        t.MarianMTModel(config).save_pretrained(tmp_path / each)
        for side in ("source", "target"):
            sentencepiece.SentencePieceTrainer.train(
                input=str(text), model_prefix=str(tmp_path / each / side), vocab_size=48, character_coverage=1.0
            )
            (tmp_path / each / f"{side}.model").rename(tmp_path / each / f"{side}.spm")
            (tmp_path / each / f"{side}.vocab").unlink()
        model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / each / "source.spm"))
        pieces = ["</s>", "<unk>", "<pad>", *(model.id_to_piece(number) for number in range(3, 48))]
        (tmp_path / each / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
        settings = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de"}
        (tmp_path / each / "tokenizer_config.json").write_text(json.dumps(settings))
    result = merged(tmp_path)
    assert result.reports["files"] == {"read_by": "tokenizer as in the input (MarianTokenizer)"}
    before, after = (t.AutoTokenizer.from_pretrained(tmp_path / folder) for folder in ("a", "out"))
    assert after("the lazy fox").input_ids == before("the lazy fox").input_ids
