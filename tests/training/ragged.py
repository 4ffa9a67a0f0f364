"""Eight ragged examples for each task, with tiny students and teachers; shared with the two-process script."""

import torch
from transformers import (
    BertForMaskedLM,
    BertForTokenClassification,
    DataCollatorWithPadding,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
    default_data_collator,
)

from hf_compress import MSE, ForwardKL
from hf_compress.tasks.masking import MaskRows
from hf_compress.tasks.padding import PadPairs, PadRows, PadSounds
from tests.distillation.inside import States
from tests.tiny import (
    tiny_bert,
    tiny_hearer,
    tiny_listener,
    tiny_llama,
    tiny_reader,
    tiny_t5,
    tiny_tokenizer,
    tiny_vit,
    tiny_whisper,
)

ROWS_OF_LOGITS = (
    *("causal_lm", "masked_lm", "sequence_classification", "token_classification", "image_classification", "seq2seq"),
)
TASKS = (
    *ROWS_OF_LOGITS,
    "multi_label",
    "regression",
    "question_answering",
    "audio_classification",
    "speech_seq2seq",
    "ctc",
)
STATES = "causal_lm on hidden states"
"""The first task with a teacher of another width, whose hidden states are compared through a trained part."""
SPLITS = ((8, 1), (4, 2), (2, 4), (1, 8))


def student_and_teacher(task):
    if task == "causal_lm":
        pair = tiny_llama(seed=0), tiny_llama(seed=1)
    elif task == STATES:
        pair = tiny_llama(seed=0), tiny_llama(seed=1, hidden_size=48)
    elif task == "sequence_classification":
        pair = tiny_bert(seed=0, num_labels=3), tiny_bert(seed=1, num_labels=3)
    elif task == "masked_lm":
        pair = tuple(tiny_bert(seed=seed, cls=BertForMaskedLM) for seed in (0, 1))
    elif task in ("multi_label", "regression"):
        width, problem = (4, "multi_label_classification") if task == "multi_label" else (1, "regression")
        pair = tuple(tiny_bert(seed=seed, num_labels=width, problem_type=problem) for seed in (0, 1))
    elif task == "token_classification":
        pair = tuple(tiny_bert(seed=seed, cls=BertForTokenClassification) for seed in (0, 1))
    elif task == "image_classification":
        pair = tiny_vit(seed=0, num_labels=3), tiny_vit(seed=1, num_labels=3)
    elif task == "question_answering":
        pair = tiny_reader(seed=0), tiny_reader(seed=1)
    elif task == "speech_seq2seq":
        pair = tiny_whisper(seed=0), tiny_whisper(seed=1)
    elif task == "audio_classification":
        pair = tiny_hearer(seed=0), tiny_hearer(seed=1)
    elif task.startswith("ctc"):
        reduction = task.partition(" ")[2] or "mean"
        pair = tuple(tiny_listener(seed=seed, ctc_loss_reduction=reduction) for seed in (0, 1))
    else:
        pair = tiny_t5(seed=0), tiny_t5(seed=1)
    for model in pair:  # dropout would draw differently for every split
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            for name in ("dropout", "activation_dropout"):
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)
    return pair


def losses(task):
    inside = [(0.3, _FullPrecision())] if task == STATES else []
    return [(0.6, MSE() if task == "regression" else ForwardKL(temperature=2.0)), *inside]


class _FullPrecision(States):
    """Its part in fp64, like the weights in these tests."""

    name = "states_fp64"

    def build(self, student, teacher):
        return super().build(student, teacher).double()


def named_gradients(model, trainer):
    """Those of the model and of the losses' trained parts."""
    parts = trainer.projections.modules if trainer is not None and trainer.projections else torch.nn.Module()
    named = dict(torch.nn.ModuleDict({"model": model, "parts": parts}).named_parameters())
    return {name: p.grad.clone() for name, p in named.items() if p.grad is not None}


def examples(task):
    generator = torch.Generator().manual_seed(3)

    def ids(length):
        return torch.randint(3, 60, (length,), generator=generator).tolist()

    lengths = [3, 9, 5, 12, 2, 7, 4, 10]
    if task in ("causal_lm", STATES):
        rows = []
        for number, length in enumerate(lengths):
            tokens = ids(length)
            labels = list(tokens)
            labels[0] = -100 if number % 2 else labels[0]  # prompts that do not count
            rows.append({"input_ids": tokens, "attention_mask": [1] * length, "labels": labels})
        return rows
    if task == "sequence_classification":
        return [
            {"input_ids": ids(length), "attention_mask": [1] * length, "labels": number % 3}
            for number, length in enumerate(lengths)
        ]
    if task == "masked_lm":  # what is hidden is drawn by the collator
        return [{"input_ids": ids(length)} for length in lengths]
    if task in ("multi_label", "regression"):
        numbers = torch.randn(8, 4 if task == "multi_label" else 1, generator=generator)
        targets = (numbers > 0).float() if task == "multi_label" else numbers
        return [
            {"input_ids": ids(length), "attention_mask": [1] * length, "labels": target}
            for length, target in zip(lengths, targets.tolist(), strict=True)
        ]
    if task == "token_classification":
        return [
            {
                "input_ids": ids(length),
                "attention_mask": [1] * length,
                "labels": [place % 3 if place % 2 else -100 for place in range(length)],
            }
            for length in lengths
        ]
    if task == "seq2seq":
        return [
            {"input_ids": ids(length), "attention_mask": [1] * length, "labels": ids(length // 2 + 1)} for length in lengths
        ]
    if task == "question_answering":  # some answers are cut off: before the end, behind both, or wholly
        spans = [(0, 2), (4, 11), (20, 30), (3, 3), (1, 1), (2, 9), (0, 0), (8, 9)]
        return [
            {"input_ids": ids(length), "attention_mask": [1] * length, "start_positions": start, "end_positions": end}
            for length, (start, end) in zip(lengths, spans, strict=True)
        ]
    if task.startswith("ctc"):
        return [
            {
                "input_values": torch.randn(60 * length, generator=generator).tolist(),
                "labels": torch.randint(1, 8, (length // 2 + 1,), generator=generator).tolist(),
            }
            for length in lengths
        ]
    if task == "speech_seq2seq":  # every sound fills a second
        return [
            {"input_features": torch.randn(16, 100, generator=generator).tolist(), "labels": ids(length // 2 + 1)}
            for length in lengths
        ]
    if task == "audio_classification":
        return [
            {"input_values": torch.randn(500 * length, generator=generator).tolist(), "labels": number % 3}
            for number, length in enumerate(lengths)
        ]
    size = tiny_vit(seed=0, num_labels=3).config.image_size
    return [
        {"pixel_values": torch.randn(3, size, size, generator=generator).tolist(), "labels": number % 3}
        for number in range(8)
    ]


def pad_batch(features, label_padding=-100):
    """Pads input_ids and token labels on the right."""
    longest = max(len(f["input_ids"]) for f in features)
    batch = {
        "input_ids": torch.tensor([f["input_ids"] + [0] * (longest - len(f["input_ids"])) for f in features]),
        "attention_mask": torch.tensor([f["attention_mask"] + [0] * (longest - len(f["input_ids"])) for f in features]),
    }
    if "labels" not in features[0]:
        ends = ("start_positions", "end_positions")
        return {**batch, **{name: torch.tensor([f[name] for f in features]) for name in ends}}
    if isinstance(features[0]["labels"], int):
        batch["labels"] = torch.tensor([f["labels"] for f in features])
        return batch
    longest = max(len(f["labels"]) for f in features)
    batch["labels"] = torch.tensor([f["labels"] + [label_padding] * (longest - len(f["labels"])) for f in features])
    return batch


class _Doubled:
    """A collator whose images or sounds are fp64, like the weights in these tests."""

    def __init__(self, collate):
        self._collate = collate

    def __call__(self, features):
        batch = self._collate(features)
        return {name: values.double() if values.is_floating_point() else values for name, values in batch.items()}


def pad_sound(features):
    """Silence behind the shorter ones, in fp64 like the weights in these tests."""
    longest, spelled = (max(len(f[name]) for f in features) for name in ("input_values", "labels"))
    sounds = [f["input_values"] + [0.0] * (longest - len(f["input_values"])) for f in features]
    masks = [[1] * len(f["input_values"]) + [0] * (longest - len(f["input_values"])) for f in features]
    return {
        "input_values": torch.tensor(sounds, dtype=torch.float64),
        "attention_mask": torch.tensor(masks),
        "labels": torch.tensor([f["labels"] + [-100] * (spelled - len(f["labels"])) for f in features]),
    }


def collator(task, model):
    if task in ("multi_label", "regression"):
        return DataCollatorWithPadding(tiny_tokenizer())
    if task == "masked_lm":
        tokenizer = tiny_tokenizer()
        tokenizer.add_special_tokens({"mask_token": "<mask>"})
        return MaskRows(tokenizer, 0.3)
    if task == "token_classification":
        return PadRows(tiny_tokenizer())
    if task == "seq2seq":
        return PadPairs(tiny_tokenizer())
    if task == "speech_seq2seq":
        return _Doubled(PadSounds(WhisperFeatureExtractor(feature_size=16, chunk_length=1)))
    if task == "audio_classification":
        return _Doubled(PadSounds(Wav2Vec2FeatureExtractor(return_attention_mask=True)))
    if task.startswith("ctc"):
        return pad_sound
    return _Doubled(default_data_collator) if task == "image_classification" else pad_batch
