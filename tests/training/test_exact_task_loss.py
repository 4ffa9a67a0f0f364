"""Pruning and quantization without a teacher: a gradient that does not grow with the accumulation steps."""

import dataclasses
import logging

import pytest
import torch
from datasets import Dataset
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForTokenClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaForQuestionAnswering,
    MixtralConfig,
    MixtralForCausalLM,
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    ViTForImageClassification,
    Wav2Vec2Config,
    Wav2Vec2ForSequenceClassification,
    set_seed,
)

from hf_compress import CompressionTrainer
from hf_compress.training.exact_task_loss import hands_on_items
from tests.tiny import tiny_bart, tiny_bert, tiny_gpt2, tiny_listener, tiny_llama, tiny_reader, tiny_t5, tiny_vit
from tests.training.ragged import SPLITS, collator, examples, pad_batch, pad_sound
from tests.training.runs import arguments, pruning, text_rows
from tests.training.test_dry_run import sounds, whisper
from tests.training.test_gradient_invariance import CatchGradients


def bert(cls, **changes):
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    set_seed(0)
    return cls(BertConfig(vocab_size=64, **sizes, **changes))


def with_labels(rows, label):
    return [{**row, "labels": label(number, row)} for number, row in enumerate(rows)]


def multi_hot(number, row):
    return [float(number % 2), 1.0, 0.0]


def gpt2():
    """Of its matrices only the score is a Linear, so a job names its Conv1D."""
    set_seed(0)
    sizes = {"vocab_size": 64, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 16}
    return GPT2ForSequenceClassification(GPT2Config(**sizes, num_labels=3, pad_token_id=0))


def wav2vec2():
    set_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    convolutions = {"conv_dim": (16, 16), "conv_kernel": (10, 3), "conv_stride": (5, 2), "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "mask_time_prob": 0.0, "layerdrop": 0.0}
    return Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**sizes, **convolutions, **positions, num_labels=3))


def resnet():
    """Its statistics stay, which a batch would otherwise decide."""
    set_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", num_labels=3)
    model = ResNetForImageClassification(config)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval().train = lambda mode=True, module=module: module
    return model


def mixtral():
    """With a load-balancing loss that is a tenth of the whole."""
    set_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_local_experts": 4}
    routers = {"output_router_logits": True, "router_aux_loss_coef": 0.2, "pad_token_id": 0}
    return MixtralForCausalLM(MixtralConfig(**sizes, **routers, num_attention_heads=4, num_key_value_heads=2))


def llama_reader():
    """Its head hands the number of items on, and the Trainer counts none."""
    set_seed(0)
    return LlamaForQuestionAnswering(tiny_llama().config)


HEADS = {
    "GPT-2 one label": (gpt2, "sequence_classification", None),
    "Wav2Vec2 one label": (wav2vec2, "sound", None),
    "Whisper": (whisper, "speech", None),
    "ResNet one label": (resnet, "image_classification", None),
    "BERT masked LM": (lambda: bert(BertForMaskedLM, tie_word_embeddings=False), "causal_lm", None),
    "BERT token classes": (
        lambda: bert(BertForTokenClassification, num_labels=3),
        "causal_lm",
        lambda number, row: [token % 3 for token in row["input_ids"]],
    ),
    "BERT one label": (lambda: tiny_bert(num_labels=3), "sequence_classification", None),
    "BERT labels": (
        lambda: tiny_bert(num_labels=3, problem_type="multi_label_classification"),
        "sequence_classification",
        multi_hot,
    ),
    "BERT numbers": (
        lambda: tiny_bert(num_labels=1, problem_type="regression"),
        "sequence_classification",
        lambda number, row: number / 8,
    ),
    "ViT labels": (lambda: tiny_vit(num_labels=3), "image_classification", multi_hot),
    "BERT answers": (tiny_reader, "answers", None),
    "Llama answers": (lambda: llama_reader(), "answers", None),
    "Wav2Vec2 CTC": (tiny_listener, "ctc", None),
    "T5": (tiny_t5, "seq2seq", None),
    "BART": (tiny_bart, "seq2seq", None),
}


TARGETS = {"GPT-2 one label": ("Conv1D",), "ResNet one label": ("Conv2d",)}


def waves():
    generator = torch.Generator().manual_seed(0)
    return [{"input_values": torch.randn(400, generator=generator).tolist(), "labels": number % 3} for number in range(8)]


def answers():
    """Texts of one length, because the head of transformers counts padding as positions."""
    generator = torch.Generator().manual_seed(0)
    spans = [(0, 2), (4, 7), (9, 9), (3, 3), (1, 1), (2, 6), (0, 0), (7, 7)]
    return [
        {
            "input_ids": torch.randint(3, 60, (8,), generator=generator).tolist(),
            "start_positions": start,
            "end_positions": end,
        }
        for start, end in spans
    ]


ROWS = {"sound": waves, "speech": lambda: sounds().to_list(), "answers": answers}


def gradients(build, task, label, folder, batch_size, accumulation, cls=CompressionTrainer, collate=None, **jobs):
    model = build()
    for module in model.modules():  # dropout would draw differently for every split
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    rows = ROWS[task]() if task in ROWS else examples(task)
    if label is not None:
        rows = with_labels(rows, label)
    catcher = CatchGradients()
    trainer = cls(
        model=model,
        args=arguments(
            folder,
            max_steps=1,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            train_sampling_strategy="sequential",
            max_grad_norm=0.0,
            save_strategy="no",
            remove_unused_columns=False,
        ),
        train_dataset=Dataset.from_list(rows),
        data_collator=collate or _collator(task, model),
        callbacks=[catcher],
        **jobs,
    )
    trainer.train()
    return torch.cat([gradient.flatten() for gradient in catcher.gradients.values()]), trainer


def _collator(task, model):
    if task == "image_classification" or task in ROWS:
        return None
    if task == "ctc":
        return lambda features: {**pad_sound(features), "input_values": pad_sound(features)["input_values"].float()}

    def padded(features):
        if isinstance(features[0]["labels"], float) or task == "sequence_classification":
            batch = pad_batch([{**feature, "labels": 0} for feature in features])
            return {**batch, "labels": torch.tensor([feature["labels"] for feature in features])}
        return collator(task, model)(features)

    return padded


TWINS = ("BERT token classes", "BERT labels", "BART", "GPT-2 one label", "Wav2Vec2 one label", "ResNet one label")
"""Their kinds of rows are tried with another head as well."""


@pytest.mark.parametrize("head", [pytest.param(name, marks=[pytest.mark.slow] * (name in TWINS)) for name in HEADS])
def test_the_gradient_is_the_same_however_the_batch_is_split(head, tmp_path):
    jobs = {"pruning": dataclasses.replace(pruning(begin=0, end=1), targets=TARGETS.get(head, ("Linear",)))}
    reference, _ = gradients(*HEADS[head], tmp_path, *SPLITS[0], **jobs)
    for split in (SPLITS[1], SPLITS[3]):
        measured, _ = gradients(*HEADS[head], tmp_path, *split, **jobs)
        assert float((measured - reference).norm() / reference.norm()) < 5e-6
    stock, _ = gradients(*HEADS[head], tmp_path, *SPLITS[0], cls=Trainer)
    assert float((reference - stock).norm() / stock.norm()) < 1e-5  # one micro-batch: the head is right


@pytest.mark.parametrize("split", [(8, 1), (2, 4), (1, 8)])
def test_the_load_balancing_loss_of_a_mixture_is_its_mean_over_the_micro_batches(split, tmp_path):
    """By hand: tokens by the items of the whole batch, routers by the number of micro-batches."""
    measured, _ = gradients(mixtral, "causal_lm", None, tmp_path, *split, pruning=pruning(begin=0, end=1))
    model, rows, (size, count) = mixtral().train(), examples("causal_lm"), split
    items = sum(label != -100 for row in rows for label in row["labels"][1:])
    for number in range(count):
        batch = pad_batch(rows[number * size : (number + 1) * size])
        outputs = model(**batch)
        labels = batch["labels"][:, 1:].reshape(-1)
        logits = outputs.logits[:, :-1].reshape(-1, 64)
        tokens = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        (tokens / items + 0.2 * outputs.aux_loss / count).backward()
    wanted = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert float((measured - wanted).norm() / wanted.norm()) < 1e-5


def test_without_a_technique_the_trainer_is_the_plain_one_unless_it_is_asked(tmp_path):
    head = HEADS["BERT one label"]
    stock, plain = gradients(*head, tmp_path, 1, 8, cls=Trainer)
    ours, _ = gradients(*head, tmp_path, 1, 8)
    assert torch.equal(stock, ours)
    exact, trainer = gradients(*head, tmp_path, 1, 8, exact_task_loss=True)
    assert float(stock.norm() / exact.norm()) == pytest.approx(8, rel=1e-4)
    plain.model.load_state_dict(trainer.model.state_dict())
    assert trainer.evaluate(trainer.train_dataset)["eval_loss"] == plain.evaluate(plain.train_dataset)["eval_loss"]


def test_heads_that_hand_the_number_of_items_on_keep_their_own_loss(tmp_path):
    for model in (tiny_llama(), tiny_gpt2(), tiny_vit()):
        assert hands_on_items(model), type(model).__name__
    for model in (tiny_bert(), tiny_t5(), tiny_bart()):
        assert not hands_on_items(model), type(model).__name__
    trainer = CompressionTrainer(
        model=tiny_llama(), args=arguments(tmp_path), train_dataset=text_rows(), pruning=pruning(), exact_task_loss=True
    )
    batch = {"input_ids": torch.tensor([[5, 6, 7]]), "labels": torch.tensor([[5, 6, 7]])}
    assert trainer._own_loss.step.loss(trainer, trainer.model, batch, None) is None


class WeighingForImageClassification(ViTForImageClassification):
    """Whose loss is twice the usual one."""

    def forward(self, pixel_values=None, labels=None, **kwargs):
        outputs = super().forward(pixel_values=pixel_values, labels=labels)
        outputs.loss = None if outputs.loss is None else 2 * outputs.loss
        return outputs


def test_a_head_with_terms_of_its_own_keeps_them_and_the_log_says_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        _, trainer = gradients(
            lambda: WeighingForImageClassification(tiny_vit().config),
            "image_classification",
            None,
            tmp_path,
            2,
            4,
            pruning=pruning(begin=0, end=1),
        )
    assert trainer._own_loss.step is None and not trainer.model_accepts_loss_kwargs
    assert "WeighingForImageClassification keeps its own loss" in caplog.text


def test_unknown_heads_are_divided_by_the_accumulation_steps_and_the_log_says_so(tmp_path, caplog):
    def choices(number, row):
        return number % 2

    def collate(features):
        ids = torch.tensor([[feature["input_ids"][:2], feature["input_ids"][-2:]] for feature in features])
        return {"input_ids": ids, "labels": torch.tensor([feature["labels"] for feature in features])}

    def run(*split):
        head = (lambda: bert(BertForMultipleChoice, attention_probs_dropout_prob=0.0), "causal_lm", choices)
        return gradients(*head, tmp_path, *split, collate=collate, pruning=pruning(begin=0, end=1))[0]

    with caplog.at_level(logging.WARNING):
        whole, split = run(8, 1), run(2, 4)
    assert float((whole - split).norm() / whole.norm()) < 1e-5
    assert "BertForMultipleChoice is not known here" in caplog.text


class OwnHead(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = tiny_bert().bert, torch.nn.Linear(32, 3)

    def forward(self, input_ids, labels=None):
        logits = self.head(self.encoder(input_ids).pooler_output)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def test_a_module_without_a_config_is_pruned_with_its_own_loss(tmp_path):
    trainer = CompressionTrainer(
        model=OwnHead(),
        args=arguments(tmp_path, max_steps=4, save_strategy="no"),
        train_dataset=Dataset.from_list([{"input_ids": [3, 4, 5], "labels": n % 3} for n in range(8)]),
        pruning=pruning(),
    )
    trainer.train()
    weight = trainer.finalize().encoder.encoder.layer[0].output.dense.weight
    assert (weight == 0).float().mean() == 0.5
