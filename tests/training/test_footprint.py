"""What a training takes in memory, against every tensor of one counted."""

from dataclasses import fields, replace

import pytest
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from hf_compress import CompressionTrainer, Cubic, Distillation, ModelTeacher, Movement, Pruning, Quantization
from hf_compress.training.compression import Compression
from hf_compress.training.footprint import ALONE, WAYS, Sizes, Way, communication, footprint, missing, sizes_of, table
from tests.peak import Peak

DDP, FSDP2, ZERO2, ZERO3 = WAYS


def wide_llama():
    """Its weights are large beside the activations of a few tokens."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


NAMES = ("activation_checkpointing", "gradient_checkpointing")
CHECKPOINTING = next(name for name in NAMES if name in {field.name for field in fields(TrainingArguments)})
PRUNING = {"pruning": Pruning(schedule=Cubic(final=0.5, begin=0, end=2, every=1))}
MOVEMENT = {"pruning": replace(PRUNING["pruning"], criterion=Movement())}
ROUNDING = {"quantization": Quantization(scheme="W4A16", begin=0)}
DISTILLATION = {"distillation": Distillation(teacher=ModelTeacher())}


@pytest.mark.parametrize(
    ("techniques", "changes"),
    [
        ({}, {}),
        ({}, {"optim": "sgd"}),
        ({}, {"bf16": True, "gradient_accumulation_steps": 2}),
        (PRUNING, {}),
        (MOVEMENT, {}),
        (ROUNDING, {}),
        (ROUNDING, {"gradient_accumulation_steps": 2}),
        (ROUNDING, {"gradient_accumulation_steps": 2, CHECKPOINTING: True}),
        (ROUNDING, {"gradient_accumulation_steps": 2, "bf16": True}),
        (DISTILLATION, {}),
        (PRUNING | ROUNDING | DISTILLATION, {"gradient_accumulation_steps": 2}),
    ],
)
def test_the_peak_of_a_real_training_is_as_worked_out(techniques, changes, tmp_path):
    model = wide_llama()
    args = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=3,
        per_device_train_batch_size=1,
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **changes,
    )
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    sizes = sizes_of(model, Compression(**techniques), args, weights if "distillation" in techniques else 0)
    rows = Dataset.from_list([{"input_ids": [3, 4, 5, 6], "labels": [3, 4, 5, 6]}] * 8)
    trainer = CompressionTrainer(model=model, args=args, train_dataset=rows, **techniques)
    with Peak(model) as counted:
        trainer.train()
    expected = footprint(sizes)["peak"]
    assert counted.peak == pytest.approx(expected, rel=0.03)


def thousand(**changes):
    """1,000 weights in fp32, AdamW, nothing else."""
    known = {"weights": 4000, "trained": 1000, "largest": 400, "states": 8000}
    return Sizes(**known | changes)


@pytest.mark.parametrize(
    ("way", "peak", "sent"),
    [
        (DDP, 4000 + 8000 + 4000 + 4000, 2 * 4000 * 3 // 4),
        (FSDP2, (4000 + 8000 + 4000) // 4 + 2 * 400, (2 * 4000 + 4000) * 3 // 4),
        (ZERO2, 4000 + (4000 + 8000 + 4000) // 4, 3 * 4000 * 3 // 4),
        (ZERO3, (4000 + 4000 + 8000 + 4000) // 4 + 2 * 400, (2 * 4000 + 4000) * 3 // 4),
    ],
    ids=lambda value: value.name if isinstance(value, Way) else "",
)
def test_four_processes_by_hand(way, peak, sent):
    assert footprint(thousand(), way, 4)["peak"] == peak
    assert communication(thousand(), way, 4) == sent


def test_rounded_copies_stay_whole_where_weights_are_spread():
    rounded, cast = thousand(copies=3600, rounded=True), thousand(copies=1800)
    assert footprint(rounded, FSDP2, 8)["layers' copies"] == 3600
    assert "layers' copies" not in footprint(cast, FSDP2, 8) and footprint(cast, DDP, 8)["layers' copies"] == 1800


def test_batches_of_one_step_keep_their_gradients_whole_under_fsdp2_or_send_them_each_time():
    waiting, sending = thousand(batches=4), thousand(batches=4, sync_each_batch=True)
    assert footprint(waiting, FSDP2, 4)["gradients"] == 4000 and footprint(sending, FSDP2, 4)["gradients"] == 1000
    assert communication(waiting, FSDP2, 4) == (4 * 2 * 4000 + 4000) * 3 // 4
    assert communication(sending, FSDP2, 4) == (4 * 2 * 4000 + 4 * 4000) * 3 // 4
    assert communication(waiting, DDP, 4) == communication(thousand(), DDP, 4)
    assert footprint(waiting, ZERO2, 4)["gradients"] == 1000
    assert communication(waiting, ZERO2, 4) == (4 * 2 * 4000 + 4000) * 3 // 4


def test_sixteen_bits_halve_what_deepspeed_holds_and_what_is_sent_of_spread_weights():
    half = thousand(half=True)
    assert footprint(half, ZERO2, 4) == {
        "weights": 2000 + 4000 // 4,
        "gradients": 2000 // 4,
        "optimizer": 8000 // 4,
        "peak": 3000 + 500 + 2000,
    }
    assert footprint(half, FSDP2, 4)["weights"] == 1000 and footprint(half, FSDP2, 4)["gathered weights"] == 400
    assert communication(half, ZERO2, 4) == (2 * 2000 + 2000) * 3 // 4 and communication(half, FSDP2, 4) == 6000 * 3 // 4
    assert communication(half, DDP, 4) == communication(thousand(), DDP, 4)


def test_a_teacher_that_is_spread_is_held_in_shares_and_gathered_for_each_batch():
    spread = thousand(teacher=2000, teacher_spread=True)
    assert footprint(spread, FSDP2, 4)["teacher"] == 500 and footprint(spread, ZERO2, 4)["teacher"] == 2000
    assert communication(spread, FSDP2, 4) - communication(thousand(), FSDP2, 4) == 2000 * 3 // 4
    assert communication(spread, DDP, 4) == communication(thousand(), DDP, 4)


def test_one_process_sends_nothing_and_has_all():
    sizes = thousand(pruned=900, largest_pruned=100, teacher=2000)
    assert all(communication(sizes, way, 1) == 0 for way in WAYS)
    assert footprint(sizes, ALONE)["peak"] == 16000 + 2 * 900 + 1200 + 2000


def test_the_table_has_a_column_for_each_way_and_says_what_it_does_not_know():
    lines = table(thousand(states=None, teacher=None), 4).splitlines()
    assert lines[0].split("  ")[-1].strip() == "ZeRO-3" and lines[-1].startswith("sent in a step")
    assert len({len(line) for line in lines}) == 1
    assert set(missing(thousand(states=None, teacher=None))) == {"optimizer", "teacher"}
    assert missing(thousand()) == {}
