"""One batch before the first step: it refuses in one sentence, and leaves no trace in the training that follows."""

import logging
import random

import numpy
import pytest
import torch
import transformers
from datasets import Dataset
from torch.utils.data import IterableDataset
from transformers import (
    DataCollatorForLanguageModeling,
    Speech2TextConfig,
    Speech2TextForConditionalGeneration,
    Trainer,
    WhisperConfig,
    WhisperForConditionalGeneration,
    set_seed,
)

from hf_compress import CompressionError, CompressionTrainer, Distillation, ForwardKL, ModelTeacher
from hf_compress.training import own_loss
from tests.tiny import tiny_listener, tiny_llama, tiny_tokenizer
from tests.training.ragged import examples, pad_sound
from tests.training.runs import arguments, assert_equal_bits, text_rows, weights
from tests.training.test_distillation_step import half, logged

SMALL = {
    "vocab_size": 64,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "dropout": 0.0,
}


def whisper():
    set_seed(0)
    return WhisperForConditionalGeneration(
        WhisperConfig(**SMALL, num_mel_bins=8, max_source_positions=16, max_target_positions=16, suppress_tokens=[])
    )


def sounds(count=8):
    generator = torch.Generator().manual_seed(0)
    return Dataset.from_list(
        [
            {
                "input_features": torch.randn(8, 32, generator=generator).tolist(),
                "labels": torch.randint(3, 60, (5,), generator=generator).tolist(),
            }
            for _ in range(count)
        ]
    )


def texts(count=8):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(3, 60, (count, 2, 6), generator=generator).tolist()
    return Dataset.from_list([{"input_ids": source, "labels": target} for source, target in rows])


def translator(kind):
    config = getattr(transformers, f"{kind}Config")(**SMALL, max_position_embeddings=32)
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config)


def speech2text():
    sizes = {"max_source_positions": 64, "max_target_positions": 32, "input_feat_per_channel": 32, "conv_channels": 16}
    return Speech2TextForConditionalGeneration(Speech2TextConfig(**SMALL, **sizes, num_conv_layers=2))


SHIFTING = {
    "Whisper": (whisper, sounds),
    "M2M100": (lambda: translator("M2M100"), texts),
    "NLLB-MoE": (lambda: translator("NllbMoe"), texts),
    "Blenderbot": (lambda: translator("Blenderbot"), texts),
    "Blenderbot-small": (lambda: translator("BlenderbotSmall"), texts),
    "Speech2Text": (speech2text, sounds),
}
"""Encoder-decoders that make their decoder's inputs from labels inside `forward`, and name no method for it."""


TWINS = ("NLLB-MoE", "Blenderbot-small")
"""Made as another one is."""


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in TWINS)) for kind in SHIFTING])
def test_encoder_decoders_that_shift_their_labels_inside_are_distilled(kind, tmp_path):
    build, rows = SHIFTING[kind]
    model = build()
    assert not hasattr(model, "prepare_decoder_input_ids_from_labels")
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    changes = {"save_strategy": "no", "logging_steps": 1}
    for module in model.modules():  # Speech2Text and its kin drop also where the config says 0
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    trainer = CompressionTrainer(
        model=model, args=arguments(tmp_path, max_steps=2, **changes), train_dataset=rows(), distillation=half()
    )
    trainer.train()
    assert logged(trainer)[0] == pytest.approx(0, abs=1e-6) and logged(trainer)[1] > 1e-5
    plain = Trainer(model=model, args=arguments(tmp_path, max_steps=1, **changes), train_dataset=rows())
    plain.model.load_state_dict(start)
    plain.train()
    assert logged(trainer, "task_loss")[0] == pytest.approx(logged(plain, "loss")[0], rel=1e-5)


def test_batches_without_labels_and_batches_the_model_cannot_read_are_one_sentence(tmp_path):
    def make(rows, **changes):
        return CompressionTrainer(
            model=tiny_llama(),
            args=arguments(tmp_path),
            train_dataset=rows,
            distillation=half(tiny_llama(seed=1)),
            **changes,
        )

    with pytest.raises(CompressionError, match="needs labels in every batch .* this one has input_ids; let the data"):
        make(text_rows().remove_columns("labels"))
    with pytest.raises(CompressionError, match="first batch of input_ids, labels ends in IndexError"):
        make(Dataset.from_list([{"input_ids": [900, 4], "labels": [900, 4]}] * 4))
    with pytest.raises(CompressionError, match="first 2 training examples cannot be made into a batch"):
        make(Dataset.from_list([{"input_ids": [5], "labels": [5]}, {"input_ids": [5, 6], "labels": [5, 6]}]))


class Noisy(torch.utils.data.Dataset):
    """Draws from every global generator."""

    def __len__(self):
        return 32

    def __getitem__(self, index):
        first = random.randrange(3, 60), int(numpy.random.randint(3, 60)), int(torch.randint(3, 60, ()))
        return {"input_ids": [*first, 5 + index], "labels": [*first, 5 + index]}


@pytest.mark.parametrize("masking", [False, True])
def test_the_training_that_follows_is_the_same_to_the_last_bit(masking, tmp_path, monkeypatch):
    """With dropout, data that draws random numbers, and a collator that has a generator of its own."""

    def run():
        for seed in (random.seed, numpy.random.seed, torch.manual_seed):
            seed(1)
        collator = DataCollatorForLanguageModeling(tiny_tokenizer(), mlm=False, seed=3) if masking else None
        trainer = CompressionTrainer(
            model=tiny_llama(seed=0, attention_dropout=0.3),
            args=arguments(tmp_path, max_steps=4, save_strategy="no", full_determinism=False),
            train_dataset=Noisy(),
            data_collator=collator,
            distillation=half(tiny_llama(seed=1)),
        )
        state = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        trainer.train()
        return weights(trainer.model), state

    with_run = run()
    monkeypatch.setattr(own_loss, "rehearse_distillation", lambda *_: None)
    without = run()
    assert_equal_bits(with_run[0], without[0])
    assert with_run[1] == without[1]


class Stream(IterableDataset):
    def __iter__(self):
        yield from [{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}] * 100


class Drawing(torch.utils.data.Dataset):
    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)

    def __len__(self):
        return 8

    def __getitem__(self, index):
        token = int(torch.randint(3, 60, (), generator=self.generator))
        return {"input_ids": [token, 4], "labels": [token, 4]}


def with_transform():
    generator = numpy.random.default_rng(0)
    return text_rows().with_transform(lambda batch: {**batch, "noise": generator.random()})


@pytest.mark.parametrize(
    ("data", "why"),
    [(Stream(), "the data is a stream"), (Drawing(), "random numbers of its own"), (with_transform(), "random numbers of")],
    ids=["stream", "generator", "transform"],
)
def test_where_reading_a_batch_would_leave_a_trace_none_is_read_and_the_log_says_why(data, why, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="hf_compress"):
        CompressionTrainer(
            model=tiny_llama(), args=arguments(tmp_path), train_dataset=data, distillation=half(tiny_llama(seed=1))
        )
    assert why in caplog.text


def test_a_trainer_that_makes_its_own_batches_is_left_alone(tmp_path, caplog):
    class Own(Trainer):
        def get_train_dataloader(self):
            return super().get_train_dataloader()

    from hf_compress import CompressionMixin

    class Mine(CompressionMixin, Own):
        pass

    with caplog.at_level(logging.INFO, logger="hf_compress"):
        Mine(model=tiny_llama(), args=arguments(tmp_path), train_dataset=text_rows(), distillation=half(tiny_llama(seed=1)))
    assert "makes its batches itself" in caplog.text


def test_a_teacher_that_runs_the_student_is_refused(tmp_path):
    student = tiny_llama(seed=0)

    class Shadow(type(student)):
        def forward(self, input_ids=None, **kwargs):
            return student(input_ids=input_ids, **kwargs)

    job = Distillation(teacher=ModelTeacher(model=Shadow(student.config)), losses=[(0.5, ForwardKL())])
    with pytest.raises(CompressionError, match=r"uses the student's own model.embed_tokens.weight"):
        CompressionTrainer(model=student, args=arguments(tmp_path), train_dataset=text_rows(), distillation=job)


def test_a_teacher_that_hears_other_frames_is_refused(tmp_path):
    teacher = tiny_listener(seed=1, conv_stride=(5, 4)).double()
    rows = Dataset.from_list(examples("ctc"))
    with pytest.raises(
        CompressionError, match=r"teacher's logits have shape .* both must see the same positions and classes"
    ):
        CompressionTrainer(
            model=tiny_listener().double(),
            args=arguments(tmp_path, remove_unused_columns=False),
            train_dataset=rows,
            data_collator=pad_sound,
            distillation=Distillation(teacher=ModelTeacher(model=teacher)),
        )


def test_a_head_that_weighs_its_rows_is_named_in_the_log(tmp_path, caplog):
    class DoublingForCausalLM(type(tiny_llama())):
        def forward(self, input_ids=None, labels=None, **kwargs):
            outputs = super().forward(input_ids=input_ids, labels=labels, **kwargs)
            outputs.loss = None if outputs.loss is None else 2 * outputs.loss
            return outputs

    with caplog.at_level(logging.WARNING):
        CompressionTrainer(
            model=DoublingForCausalLM(tiny_llama().config),
            args=arguments(tmp_path),
            train_dataset=text_rows(),
            distillation=half(tiny_llama(seed=1)),
        )
    assert "the loss of DoublingForCausalLM is" in caplog.text
