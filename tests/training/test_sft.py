"""TRL's SFTTrainer on conversations, packed, with a loss on answers alone."""

import random

import pytest
import torch
from datasets import Dataset

from hf_compress import CompressionMixin, Distillation, ForwardKL, ModelTeacher
from hf_compress.tasks.chats import PLAIN_TEMPLATE
from tests.small import WORDS
from tests.tiny import tiny_llama, tiny_tokenizer
from tests.training.ragged import SPLITS
from tests.training.test_gradient_invariance import CatchGradients

trl = pytest.importorskip("trl", reason="the trl extra is not installed")

PACKED = ("wrapped", "bfd")
LONG = {"max_position_embeddings": 512}


class ChatTrainer(CompressionMixin, trl.SFTTrainer):
    pass


def conversations(count):
    """Ragged: one to three turns of an assistant, of one to six words."""
    generator = random.Random(0)

    def say(role):
        return {"role": role, "content": " ".join(generator.choices(WORDS, k=generator.randint(1, 6)))}

    turns = [[say(role) for _ in range(generator.randint(1, 3)) for role in ("user", "assistant")] for _ in range(count)]
    return Dataset.from_list([{"messages": messages} for messages in turns])


def chat_trainer(cls, folder, packing, model, rows, **changes):
    """`packing` is a strategy of TRL, or None."""
    jobs = {name: changes.pop(name) for name in ("distillation", "callbacks") if name in changes}
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = PLAIN_TEMPLATE
    args = trl.SFTConfig(
        output_dir=str(folder),
        assistant_only_loss=True,
        packing=packing is not None,
        packing_strategy=packing or "bfd",
        max_length=96,
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        report_to="none",
        **changes,
    )
    return cls(model=model, args=args, train_dataset=rows, processing_class=tokenizer, **jobs)


@pytest.mark.parametrize("packing", PACKED)
def test_with_nothing_on_the_curve_is_that_of_sft_alone(packing, tmp_path):
    def curve(cls):
        settings = {
            "max_steps": 6,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "learning_rate": 5e-3,
        }
        trainer = chat_trainer(cls, tmp_path, packing, tiny_llama(**LONG), conversations(60), **settings)
        trainer.train()
        weights = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
        keys = ("loss", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens")
        return [[entry[key] for key in keys] for entry in trainer.state.log_history if "loss" in entry], weights

    (ours, own), (alone, others) = curve(ChatTrainer), curve(trl.SFTTrainer)
    assert len(ours) == 6 and ours == alone
    assert alone[-1][0] < alone[0][0]
    assert all(torch.equal(own[name], others[name]) for name in others)


def gradients(packing, batch_size, accumulation, folder):
    """Of one step on eight rows, and how many tokens of answers each has."""
    catcher = CatchGradients()
    trainer = chat_trainer(
        ChatTrainer,
        folder,
        packing,
        tiny_llama(seed=0, **LONG).double(),
        conversations(8 if packing is None else 40),
        max_steps=1,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        train_sampling_strategy="sequential",
        max_grad_norm=0.0,
        callbacks=[catcher],
        distillation=Distillation(
            teacher=ModelTeacher(model=tiny_llama(seed=1, **LONG).double()),
            losses=[(0.6, ForwardKL(temperature=2.0))],
            task_weight=0.8,
        ),
    )
    catcher.trainer = trainer
    trainer.train()
    rows = [trainer.data_collator([trainer.train_dataset[place]])["labels"] for place in range(8)]
    return catcher.gradients, [int((row != -100).sum()) for row in rows]


@pytest.mark.parametrize("packing", [None, *PACKED])
def test_the_gradient_is_the_same_however_ragged_answers_are_split(packing, tmp_path):
    reference, answers = gradients(packing, 8, 1, tmp_path)
    assert len(set(answers)) > 4 and max(answers) > 1.5 * min(answers) > 0
    assert sum(float(one.abs().sum()) for one in reference.values()) > 0
    for batch_size, accumulation in SPLITS[1:]:
        split, _ = gradients(packing, batch_size, accumulation, tmp_path)
        assert split.keys() == reference.keys()
        for name in reference:
            # fp64 sums in another order
            torch.testing.assert_close(
                split[name], reference[name], rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
            )
