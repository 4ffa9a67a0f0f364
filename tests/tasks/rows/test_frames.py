"""Frames of sound, against the CTC losses of transformers' own heads and a sum over all paths."""

import itertools

import pytest
import torch
import transformers

from hf_compress import CompressionError
from hf_compress.distillation.objective import task_objective
from hf_compress.tasks.heads import base_model
from hf_compress.tasks.row_kind import row_kind
from hf_compress.tasks.rows.frames import Frames
from hf_compress.tasks.task_loss import task_kind
from tests.tiny import tiny_listener

SOUND = {
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
    "apply_spec_augment": False,
}
PARAKEET = {
    "encoder_config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "subsampling_conv_channels": 8,
        "num_mel_bins": 16,
    },
    "vocab_size": 8,
}
HEADS = {
    "Wav2Vec2ForCTC": SOUND,
    "HubertForCTC": SOUND,
    "WavLMForCTC": SOUND,
    "UniSpeechForCTC": SOUND,
    "SEWForCTC": {**SOUND, "squeeze_factor": 1},
    "Data2VecAudioForCTC": {**SOUND, "conv_pos_kernel_size": 3},
    "Wav2Vec2BertForCTC": {**SOUND, "feature_projection_input_dim": 16},
    "ParakeetForCTC": PARAKEET,
}
LABELS = torch.tensor([[1, 2, 2, 3], [4, -100, -100, -100], [5, 6, 0, -100]])
"""The last is padded with the blank, as some collators do."""


def build(name, reduction):
    cls = getattr(transformers, name)
    transformers.set_seed(0)
    return cls(cls.config_class(**HEADS[name], pad_token_id=0, ctc_loss_reduction=reduction)).eval()


def batch_of(model):
    generator = torch.Generator().manual_seed(0)
    if model.main_input_name == "input_values":
        mask = torch.arange(400) < torch.tensor([[400], [250], [330]])
        return {"input_values": torch.randn(3, 400, generator=generator), "attention_mask": mask.long(), "labels": LABELS}
    mask = torch.arange(160) < torch.tensor([[160], [100], [130]])
    return {"input_features": torch.randn(3, 160, 16, generator=generator), "attention_mask": mask.long(), "labels": LABELS}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", HEADS)
def test_the_loss_is_the_heads_own(name, reduction):
    model = build(name, reduction)
    batch, kind = batch_of(model), task_kind(model)
    assert kind == Frames(reduction=reduction)
    with torch.no_grad():
        own = model(**batch)
        with kind.listening(model) as heard:
            answer = model(**batch)
        total, items = task_objective(answer.logits, {"labels": LABELS}, kind, heard)
        torch.testing.assert_close(total / items, own.loss)
        torch.testing.assert_close(model(**batch).loss, own.loss)  # its own loss is there again
    rows = kind.rows(answer.logits, {"labels": LABELS}, heard)
    assert rows.positions.sum(1).tolist() == heard["logit_lengths"].tolist() and rows.keep.sum() < len(rows.keep)


def test_two_utterances_by_hand_as_a_sum_over_all_paths():
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    labels, frames = torch.tensor([[1, 2], [2, -100]]), [4, 3]
    probability = logits.softmax(-1)
    costs = []
    for row, (spelled, length) in enumerate(zip(([1, 2], [2]), frames, strict=True)):
        whole = 0.0
        for path in itertools.product(range(3), repeat=length):
            if [token for token, _ in itertools.groupby(path) if token != 0] == spelled:
                whole += float(torch.prod(probability[row, range(length), path]))
        costs.append(-torch.tensor(whole).log())
    facts = {"logit_lengths": torch.tensor(frames), "blank_token_id": 0}
    for reduction, wanted, divisor in (("sum", costs[0] + costs[1], 1), ("mean", costs[0] / 2 + costs[1] / 1, 2)):
        total, items = task_objective(logits, {"labels": labels}, Frames(reduction=reduction), facts)
        torch.testing.assert_close(total, wanted, rtol=1e-5, atol=1e-5)
        assert int(items) == divisor


def test_an_utterance_that_is_too_short_for_its_text_costs_nothing_where_the_config_says_so():
    facts = {"logit_lengths": torch.tensor([1]), "blank_token_id": 0}
    targets = {"labels": torch.tensor([[1, 2]])}
    logits = torch.randn(1, 4, 3, requires_grad=True)
    assert task_objective(logits, targets, Frames(), facts)[0].isinf()
    total, _ = task_objective(logits, targets, Frames(), {**facts, "zero_infinity": True})
    total.backward()
    assert float(total.detach()) == 0 and (logits.grad == 0).all()


def test_a_head_that_says_no_lengths_and_a_reduction_that_is_none_are_refused():
    with pytest.raises(CompressionError, match="hands its loss no lengths, so nobody knows which frames count"):
        row_kind("frames")().rows(torch.zeros(1, 4, 3), {"labels": torch.tensor([[1]])}, {})
    model = tiny_listener(ctc_loss_reduction="none")
    with pytest.raises(CompressionError, match="ctc_loss_reduction='none' of Wav2Vec2ForCTC makes no loss to train with"):
        task_kind(model)
    assert base_model(model) is model
