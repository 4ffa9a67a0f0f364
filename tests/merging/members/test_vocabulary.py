"""Alignment of vocabularies, against a loop over tokens and rows."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertForMaskedLM, CLIPConfig, CLIPModel

from hf_compress._errors import CompressionError
from hf_compress.merging.configuration import Tokenizer
from hf_compress.merging.members.vocabulary import align
from tests.merging.checkpoints import save, word_tokenizer
from tests.tiny import tiny_bart, tiny_llama, tiny_t5, tiny_vit

WORDS = ["red", "green", "blue"]


def _masked_bert(vocab_size):
    settings = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForMaskedLM(BertConfig(vocab_size=vocab_size, pad_token_id=0, **settings))
    torch.nn.init.normal_(model.cls.predictions.bias)  # all zeros would hide a wrong order
    return model


MODELS = {
    "llama": lambda size: tiny_llama(seed=size, vocab_size=size),
    "tied llama": lambda size: tiny_llama(seed=size, vocab_size=size, tie_word_embeddings=True),
    "bert": _masked_bert,
}
ROWS = {
    "llama": {"lm_head.weight", "model.embed_tokens.weight"},
    "tied llama": {"model.embed_tokens.weight"},
    "bert": {"bert.embeddings.word_embeddings.weight", "cls.predictions.bias"},
}


def _checkpoints(tmp_path, build):
    """A base with two rows of padding; two members that lack, add and order tokens differently."""
    tokenizers = {
        "base": word_tokenizer(WORDS, added=["<x>"]),
        "one": word_tokenizer([*reversed(WORDS), "one"], added=["<z>", "<y>"]),
        "two": word_tokenizer(["green", "pink"], added=["<y>"]),
    }
    sizes = {"base": 10, "one": 10, "two": 7}
    folders = {label: tmp_path / label for label in tokenizers}
    sources = [save(folders[label], build(sizes[label]), tokenizers[label]) for label in tokenizers]
    return sources, folders, {label: tokenizer.get_vocab() for label, tokenizer in tokenizers.items()}


def _reference(name, sources, vocabularies, result, number, size):
    """The rows of one aligned tensor, one at a time."""
    tensors = {source.label: source.read(name) for source in sources}
    own = sources[number].label
    rows = []
    token_of = {index: token for token, index in result.items()}
    for index in range(size):
        token = token_of.get(index)
        have = {}
        for label, tensor in tensors.items():
            taken = set(vocabularies[label].values())
            at = vocabularies[label].get(token) if token else (index if index not in taken else None)
            if at is not None and at < len(tensor):
                have[label] = tensor[at]
        rows.append(have.get(own, sum(have.values()) / len(have) if have else torch.zeros_like(tensors[own][0])))
    return torch.stack(rows)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("target", ["union", "base", "two"])
def test_every_row_is_the_own_one_or_the_average_of_those_who_have_it(tmp_path, kind, target):
    sources, folders, vocabularies = _checkpoints(tmp_path, MODELS[kind])
    aligned = align(sources, folders, Tokenizer(source=target))
    result = aligned.tokenizer.get_vocab()
    assert aligned.vocab_size == {"union": 12, "base": 10, "two": 7}[target]
    for number, source in enumerate(aligned.sources):
        changed = {name for name in source.infos if source.read(name).data_ptr() != sources[number].read(name).data_ptr()}
        assert ROWS[kind] <= changed
        assert source.config["vocab_size"] == aligned.vocab_size
        for name in ROWS[kind]:
            tensor = source.read(name)
            assert tuple(tensor.shape) == source.infos[name].shape
            # Means of at most three fp32 numbers, summed in the same order.
            torch.testing.assert_close(
                tensor, _reference(name, sources, vocabularies, result, number, aligned.vocab_size), rtol=1e-6, atol=1e-7
            )
        for name in source.infos.keys() - ROWS[kind]:
            assert torch.equal(source.read(name), sources[number].read(name))


def test_a_row_that_nobody_has_is_zero_and_counted(tmp_path):
    sources, folders, _ = _checkpoints(tmp_path, MODELS["llama"])
    aligned = align(sources, folders, Tokenizer(source="union", pad_to_multiple_of=8))
    assert aligned.vocab_size == 16
    assert aligned.report["num_zero_rows"] == 4
    assert aligned.report["num_added"] == 4
    for source in aligned.sources:
        assert not source.read("lm_head.weight")[12:].any()


def test_a_row_the_user_takes_from_a_member_is_that_one_everywhere(tmp_path):
    sources, folders, vocabularies = _checkpoints(tmp_path, MODELS["llama"])
    aligned = align(sources, folders, Tokenizer(source="union", rows={"green": "two", "<y>": "one"}))
    result = aligned.tokenizer.get_vocab()
    for source in aligned.sources:
        tensor = source.read("lm_head.weight")
        assert torch.equal(tensor[result["green"]], sources[2].read("lm_head.weight")[vocabularies["two"]["green"]])
        assert torch.equal(tensor[result["<y>"]], sources[1].read("lm_head.weight")[vocabularies["one"]["<y>"]])


def _as_mergekit(name, sources, vocabularies, result, number, size, given):
    """One aligned tensor by the rules of mergekit 0.1.5, row by row; `given`: token -> label, for those who lack it."""
    tensors = {source.label: source.read(name) for source in sources}
    own = sources[number].label
    rows = [None] * size
    for token, index in result.items():
        have = {
            label: tensors[label][at]
            for label, vocabulary in vocabularies.items()
            if (at := vocabulary.get(token)) is not None
        }
        lender = given.get(token, "base" if "base" in have else None)
        average = sum(have.values()) / len(have) if have else torch.zeros_like(tensors[own][0])
        rows[index] = have[own] if own in have else have[lender] if lender else average
    mean = torch.stack([row for row in rows if row is not None]).mean(0)
    return torch.stack([mean if row is None else row for row in rows])


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("target", "size", "padded"), [("union", 12, 16), ("base", 8, 8), ("two", 7, 8), ("one", 10, 16)])
def test_rows_follow_mergekits_rules_where_its_numbers_are_wanted(tmp_path, kind, target, size, padded):
    sources, folders, vocabularies = _checkpoints(tmp_path, MODELS[kind])
    given = {"<y>": "two"} if target in ("union", "one") else {}
    for multiple, num_rows in ((None, size), (8, padded)):
        setting = Tokenizer(source=target, pad_to_multiple_of=multiple, missing_rows=given)
        aligned = align(sources, folders, setting, "mergekit")
        assert aligned.vocab_size == num_rows
        result = aligned.tokenizer.get_vocab()
        for number, source in enumerate(aligned.sources):
            for name in ROWS[kind]:
                expected = _as_mergekit(name, sources, vocabularies, result, number, num_rows, given)
                # Means of fp32 numbers, summed in another order.
                torch.testing.assert_close(source.read(name), expected, rtol=1e-6, atol=1e-7)


def test_padding_goes_where_mergekits_numbers_are_wanted_also_from_equal_vocabularies(tmp_path):
    folders = {label: tmp_path / label for label in ("base", "member")}
    sources = [
        save(folders[label], tiny_llama(seed, vocab_size=9), word_tokenizer(WORDS)) for seed, label in enumerate(folders)
    ]
    assert align(sources, folders, Tokenizer()).sources == tuple(sources)
    aligned = align(sources, folders, Tokenizer(), "mergekit")
    assert aligned.vocab_size == 7
    assert torch.equal(aligned.sources[1].read("lm_head.weight"), sources[1].read("lm_head.weight")[:7])
    assert align(sources, folders, None, "mergekit").sources == tuple(sources)


def test_a_token_that_the_result_lacks_is_added_where_mergekits_numbers_are_wanted(tmp_path):
    sources, folders, vocabularies = _checkpoints(tmp_path, MODELS["llama"])
    aligned = align(sources, folders, Tokenizer(source="base", rows={"<y>": "one"}), "mergekit")
    assert (aligned.vocab_size, aligned.tokenizer.get_vocab()["<y>"]) == (9, 8)
    for source in aligned.sources:
        assert torch.equal(source.read("lm_head.weight")[8], sources[1].read("lm_head.weight")[vocabularies["one"]["<y>"]])


def test_token_ids_in_the_configs_follow_their_tokens(tmp_path):
    base, member = word_tokenizer(["a"], added=["<end>"]), word_tokenizer(["a", "b"], added=["<end>"])
    folders = {"base": tmp_path / "base", "member": tmp_path / "member"}
    sources = [
        save(folders["base"], tiny_llama(vocab_size=6, eos_token_id=5), base),
        save(folders["member"], tiny_llama(vocab_size=7, eos_token_id=6), member),
    ]
    aligned = align(sources, folders, Tokenizer(source="member"))
    assert aligned.sources[0].config["eos_token_id"] == 6
    assert aligned.sources[0].config["bos_token_id"] == 1
    generation = {"eos_token_id": [5, 2], "pad_token_id": 0, "suppress_tokens": [4, 5], "max_length": 5}
    assert aligned.move(generation, "x") == {**generation, "eos_token_id": [6, 2], "suppress_tokens": [4, 6]}


@pytest.mark.parametrize(
    ("build", "names"), [(tiny_t5, {"shared.weight"}), (tiny_bart, {"model.shared.weight", "final_logits_bias"})]
)
def test_shared_embeddings_and_biases_in_the_second_dimension_are_found(tmp_path, build, names):
    words = [f"w{index}" for index in range(60)]
    folders = {"base": tmp_path / "base", "member": tmp_path / "member"}
    sources = [
        save(folders["base"], build(seed=0), word_tokenizer(words)),
        save(folders["member"], build(seed=1), word_tokenizer(list(reversed(words)))),
    ]
    aligned = align(sources, folders, Tokenizer())
    order = [*range(4), *range(63, 3, -1)]
    for name in names:
        tensor = sources[1].read(name)
        expected = tensor[order] if tensor.shape[0] == 64 else tensor[:, order]
        assert torch.equal(aligned.sources[1].read(name), expected)
        assert torch.equal(aligned.sources[0].read(name), sources[0].read(name))


def _clip(vocab_size):
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": vocab_size, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return CLIPModel(CLIPConfig(text_config=text, vision_config={**sizes, "image_size": 8, "patch_size": 4}))


def test_the_vocabulary_of_a_part_is_aligned_and_its_size_stands_in_its_part_of_the_config(tmp_path):
    folders = {"base": tmp_path / "base", "member": tmp_path / "member"}
    sources = [
        save(folders["base"], _clip(7), word_tokenizer(WORDS)),
        save(folders["member"], _clip(8), word_tokenizer(["pink", *WORDS])),
    ]
    aligned = align(sources, folders, Tokenizer(source="member"))
    name = "text_model.embeddings.token_embedding.weight"
    assert torch.equal(aligned.sources[0].read(name)[[0, 1, 2, 3, 5, 6, 7]], sources[0].read(name))
    assert torch.equal(aligned.sources[0].read(name)[4], sources[1].read(name)[4])
    config = aligned.sources[0].config
    assert config["text_config"]["vocab_size"] == 8
    assert "vocab_size" not in config
    CLIPModel(CLIPConfig.from_dict(config)).load_state_dict(
        {name: aligned.sources[0].read(name) for name in aligned.sources[0].infos}
    )


def test_equal_vocabularies_change_nothing(tmp_path):
    folders = {"base": tmp_path / "base", "member": tmp_path / "member"}
    sources = [
        save(folders[label], tiny_llama(seed, vocab_size=7), word_tokenizer(WORDS)) for seed, label in enumerate(folders)
    ]
    for setting in (None, Tokenizer(source="union"), Tokenizer()):
        aligned = align(sources, folders, setting)
        assert aligned.sources == tuple(sources)
        assert aligned.tokenizer is None
    assert align([save(tmp_path / "vit", tiny_vit())], {"vit": tmp_path / "vit"}, None).tokenizer is None


def test_a_member_without_a_tokenizer_is_read_with_that_of_the_base(tmp_path):
    folders = {label: tmp_path / label for label in ("base", "bare", "member")}
    sources = [
        save(folders["base"], tiny_llama(0, vocab_size=7), word_tokenizer(WORDS)),
        save(folders["bare"], tiny_llama(1, vocab_size=7)),
        save(folders["member"], tiny_llama(2, vocab_size=8), word_tokenizer([*WORDS, "pink"])),
    ]
    aligned = align(sources, folders, Tokenizer(source="union"))
    assert aligned.report["read_with_the_tokenizer_of_the_base"] == ["bare"]
    assert torch.equal(aligned.sources[1].read("lm_head.weight")[:7], sources[1].read("lm_head.weight"))


def test_a_written_union_loads_whole_and_runs_every_members_words(tmp_path):
    sources, folders, _ = _checkpoints(tmp_path, MODELS["llama"])
    aligned = align(sources, folders, Tokenizer(source="union"))
    out = tmp_path / "out"
    aligned.tokenizer.save_pretrained(out)
    (out / "config.json").write_text(json.dumps(aligned.sources[0].config))
    tensors = {
        name: torch.stack([source.read(name) for source in aligned.sources]).mean(0) for name in aligned.sources[0].infos
    }
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    model, info = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = AutoTokenizer.from_pretrained(out)("red pink one <x> <y> <z>", return_tensors="pt")["input_ids"]
    assert model(input_ids=ids).logits.shape == (1, 6, 12)


def test_code_of_its_own_merges_where_the_vocabularies_are_equal(tmp_path):
    sources = [save(tmp_path / label, tiny_llama(seed, vocab_size=7)) for seed, label in enumerate("ab")]
    for source in sources:
        source.config["model_type"] = "of_mine"
    assert align(sources, {}, None).sources == tuple(sources)
    sources[1].config["vocab_size"] = 8
    with pytest.raises(CompressionError, match="b has 8 rows, that of a 7"):
        align(sources, {}, None)


def test_different_vocabularies_without_a_setting_are_refused(tmp_path):
    folders = {"base": tmp_path / "base", "swapped": tmp_path / "swapped", "larger": tmp_path / "larger"}
    base = save(folders["base"], tiny_llama(vocab_size=7), word_tokenizer(WORDS))
    swapped = save(folders["swapped"], tiny_llama(vocab_size=7), word_tokenizer(["green", "red", "blue"]))
    larger = save(folders["larger"], tiny_llama(vocab_size=8), word_tokenizer([*WORDS, "pink"]))
    with pytest.raises(CompressionError, match="swapped has 'green' as token 4, that of base as 5; write tokenizer:"):
        align([base, swapped], folders, None)
    with pytest.raises(CompressionError, match="larger has 8 rows, that of base 7; write tokenizer: {source: union}"):
        align([base, larger], folders, None)


def test_members_that_differ_are_refused_where_the_base_has_no_tokenizer(tmp_path):
    folders = {label: tmp_path / label for label in ("base", "one", "two")}
    words = [None, word_tokenizer(WORDS), word_tokenizer(WORDS[::-1])]
    sources = [save(folders[label], tiny_llama(vocab_size=7), words[seed]) for seed, label in enumerate(folders)]
    with pytest.raises(CompressionError, match="the vocabulary of two has .* as token 4, that of one as 6"):
        align(sources, folders, None)


def test_settings_that_name_nothing_are_refused(tmp_path):
    sources, folders, _ = _checkpoints(tmp_path, MODELS["llama"])
    with pytest.raises(CompressionError, match=r"unknown tokenizer.source 'tow'; did you mean 'two'"):
        align(sources, folders, Tokenizer(source="tow"))
    with pytest.raises(CompressionError, match="the result has no token 'violet'"):
        align(sources, folders, Tokenizer(source="union", rows={"violet": "one"}))
    with pytest.raises(CompressionError, match=r"tokenizer.missing_rows: two has no row for 'red'"):
        align(sources, folders, Tokenizer(source="union", missing_rows={"red": "two"}))
    with pytest.raises(CompressionError, match="two has no row for 'red'"):
        align(sources, folders, Tokenizer(source="union", rows={"red": "two"}))
    with pytest.raises(CompressionError, match="pad_to_multiple_of=0 is not a number of rows"):
        align(sources, folders, Tokenizer(pad_to_multiple_of=0))
    vit = [save(tmp_path / "vit", tiny_vit())]
    with pytest.raises(CompressionError, match="no model has a vocabulary"):
        align(vit, {"vit": tmp_path / "vit"}, Tokenizer())
