"""Tiny members of every modality, in memory and in folders."""

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    ViTImageProcessorPil,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
    WhisperFeatureExtractor,
    WhisperProcessor,
)

from hf_compress.inputs.spelling import character_tokenizer
from tests.tiny import (
    tiny_bart,
    tiny_bert,
    tiny_gpt2,
    tiny_hearer,
    tiny_listener,
    tiny_llama,
    tiny_t5,
    tiny_tokenizer,
    tiny_vit,
    tiny_whisper,
)


def lower_tokenizer():
    """Another one: small letters only, in the reverse order of ids."""
    characters = "zyxwvutsrqponmlkjihgfedcba ."
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *characters])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")


def named(model, labels):
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: number for number, label in enumerate(labels)}
    return model.eval()


def sharper(model, factor=4.0):
    """Fresh weights answer all alike; larger ones do not."""
    for weight in model.parameters():
        weight.data *= factor
    return model


def texts(tokenizers=(tiny_tokenizer, tiny_tokenizer), orders=("abc", "cab"), **changes):
    """Two classifiers of text with their tokenizers."""
    members = [named(sharper(tiny_bert(seed, **changes)), order) for seed, order in enumerate(orders)]
    return members, [make() for make in tokenizers]


def images(sizes=(8, 8)):
    members = [named(sharper(tiny_vit(seed)), "abc") for seed in range(2)]
    extractors = [
        ViTImageProcessorPil(size={"height": 8, "width": 8}, image_mean=[0.5 - k / 4] * 3) for k in range(len(sizes))
    ]
    return members, extractors if sizes[0] != sizes[1] else [extractors[0]] * 2


def sounds(rates=(16000, 16000)):
    members = [named(sharper(tiny_hearer(seed), 2.0), "abc") for seed in range(2)]
    return members, [Wav2Vec2FeatureExtractor(sampling_rate=rate) for rate in rates]


def writers():
    members = [sharper(tiny_llama()).eval(), sharper(tiny_gpt2(1)).eval()]
    return members, [tiny_tokenizer(), tiny_tokenizer()]


def translators():
    """Two that read one text and write another."""
    members = [sharper(tiny_t5()).eval(), sharper(tiny_bart(1)).eval()]
    return members, [tiny_tokenizer(), tiny_tokenizer()]


def spellers():
    """Two that spell frames of sound."""
    members = [sharper(tiny_listener(seed), 2.0).eval() for seed in range(2)]
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=16000, return_attention_mask=True)
    return members, [Wav2Vec2Processor(extractor, character_tokenizer(["abcd"])) for _ in members]


def hearers():
    """Two Whispers of other widths, that hear a second."""
    members = [sharper(tiny_whisper(seed, **changes), 4.0).eval() for seed, changes in enumerate(({}, {"d_model": 16}))]
    return members, [WhisperProcessor(WhisperFeatureExtractor(feature_size=16, chunk_length=1), tiny_tokenizer())] * 2


def saved(members, processors, place):
    """The members as folders."""
    folders = []
    for number, (member, processor) in enumerate(zip(members, processors, strict=True)):
        folder = place / f"model-{number}"
        member.save_pretrained(folder)
        processor.save_pretrained(folder)
        folders.append(str(folder))
    return folders
