"""Each refusal of the table fires for its pair and stays silent otherwise."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from accelerate import ParallelismConfig
from accelerate.utils import DistributedType
from accelerate.utils.deepspeed import HfDeepSpeedConfig

from hf_compress import CompressionError, CompressionTrainer, Distillation, ModelTeacher, Movement
from hf_compress.training.compatibility import RULES, check_arguments, check_compatibility, check_projections
from hf_compress.training.compression import Compression
from hf_compress.training.zero_rules import whole_tensor_optimizer
from tests.pruning.test_statistics import Curious
from tests.tiny import tiny_llama
from tests.training.runs import assert_equal_bits, distillation, llama_trainer, pruning, quantization, weights


class Weighted(SimpleNamespace):
    def compute_loss(self):
        """Of the host's own."""


def situation(model=None, own_loss=False, **changes):
    args = SimpleNamespace(
        n_gpu=1,
        world_size=1,
        label_smoothing_factor=0.0,
        use_liger_kernel=False,
        auto_find_batch_size=False,
        loss_type="nll",
    )
    args.load_best_model_at_end, args.save_strategy, args.eval_strategy, args.eval_delay = False, "steps", "steps", 0
    args.metric_for_best_model, args.lr_scheduler_type, args.max_steps = None, "linear", 12
    trainer = (Weighted if own_loss else SimpleNamespace)(
        args=args,
        model=model or tiny_llama(seed=0),
        is_fsdp_enabled=False,
        is_deepspeed_enabled=False,
        compute_loss_func=None,
        accelerator=SimpleNamespace(state=SimpleNamespace(), parallelism_config=None),
    )
    for name, value in changes.items():
        setattr(args if hasattr(args, name) else trainer, name, value)
    return trainer


def sharded(model=None, **plugin):
    plugin = SimpleNamespace(**{"fsdp_version": 2, "cpu_ram_efficient_loading": False, **plugin})
    state = SimpleNamespace(fsdp_plugin=plugin)
    accelerator = SimpleNamespace(state=state, distributed_type=DistributedType.FSDP, mixed_precision="no")
    return situation(model, is_fsdp_enabled=True, accelerator=accelerator)


def asked_for_fsdp_on_cpus():
    """accelerate keeps no plugin then, and trains with DDP."""
    accelerator = SimpleNamespace(state=SimpleNamespace(), distributed_type=DistributedType.MULTI_CPU)
    trainer = situation(world_size=2, accelerator=accelerator)
    trainer.args.fsdp = True
    return trainer


def extended(name, shape, dtype=torch.float32):
    model = tiny_llama(seed=0)
    model.register_parameter(name, torch.nn.Parameter(torch.ones(shape, dtype=dtype)))
    return model


def with_buffer():
    model = tiny_llama(seed=0)
    model.register_buffer("count", torch.zeros(3))
    return model


def adapted():
    model = tiny_llama(seed=0)
    model.peft_config = {}
    return model


def quantized():
    model = tiny_llama(seed=0)
    model.is_quantized = True
    return model


ZERO_2 = {"zero_optimization": {"stage": 2}}


def unties():
    """As with an adapter that saves the head whole: beside its copy the tied weight stays where it was."""
    model = tiny_llama(seed=0, tie_word_embeddings=True)
    model.peft_config = {}
    head = torch.nn.Linear(32, 64, bias=False)
    head.original_module, model.lm_head = model.lm_head, head
    return model


def deepspeed(config, optim="adamw_torch", model=None):
    """With DeepSpeed's plugin, as accelerate keeps it."""
    plugin = SimpleNamespace(hf_ds_config=HfDeepSpeedConfig(config))
    trainer = situation(model, accelerator=SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin)))
    trainer.args.optim = optim
    return trainer


CASES = {
    "a criterion that looks at gradients + FSDP": lambda: sharded(),
    "anything + FSDP 1": lambda: sharded(fsdp_version=1),
    "anything + FSDP where nothing is sharded": asked_for_fsdp_on_cpus,
    "anything + FSDP with cpu_ram_efficient_loading + buffers that are saved": lambda: sharded(
        with_buffer(), cpu_ram_efficient_loading=True
    ),
    "anything + FSDP 2 + weights that are single numbers": lambda: sharded(extended("temperature", ())),
    "anything + FSDP 2 + weights of several types": lambda: sharded(extended("wide", (2,), torch.float64)),
    "anything + FSDP 2 + an adapter that takes tied weights apart": lambda: sharded(unties()),
    "anything + FSDP 2 + a model that its config does not make": lambda: sharded(extended("more", (2,))),
    "pruning + DeepSpeed without ZeRO": lambda: deepspeed({}),
    "anything + ZeRO + an optimizer that looks at whole tensors": lambda: deepspeed(ZERO_2, optim="adafactor"),
    "anything + ZeRO-3 + a model that its config does not make": lambda: deepspeed(
        {"zero_optimization": {"stage": 3}}, model=extended("more", (2,))
    ),
    "anything + DataParallel": lambda: situation(n_gpu=2),
    "pruning + PEFT adapters + FSDP or DeepSpeed": lambda: deepspeed(ZERO_2, model=adapted()),
    "a criterion that accumulates + PEFT adapters": lambda: situation(adapted()),
    "quantization + PEFT adapters": lambda: situation(adapted()),
    "pruning or quantization + an already quantized model": lambda: situation(quantized()),
    "quantization + a model without save_pretrained": lambda: situation(torch.nn.Linear(4, 4)),
    "pruning or quantization + half-precision weights": lambda: situation(tiny_llama(seed=0).to(torch.bfloat16)),
    "anything + frozen weights alone": lambda: situation(tiny_llama(seed=0).requires_grad_(False)),
    "a criterion that accumulates + FSDP or DeepSpeed": lambda: deepspeed(ZERO_2),
    "a criterion that accumulates + fp16": lambda: situation(
        accelerator=SimpleNamespace(state=SimpleNamespace(), parallelism_config=None, mixed_precision="fp16")
    ),
    "distillation + label smoothing": lambda: situation(label_smoothing_factor=0.1),
    "distillation + Liger kernels": lambda: situation(use_liger_kernel=True),
    "distillation + compute_loss_func": lambda: situation(compute_loss_func=print),
    "pruning or quantization + a best model that no evaluation finds": lambda: situation(
        load_best_model_at_end=True, eval_delay=13
    ),
    "distillation + a loss of the trainer's own": lambda: situation(own_loss=True),
    "distillation + another loss_type of SFTTrainer": lambda: situation(loss_type="dft"),
    "distillation + an already quantized model": lambda: situation(quantized()),
    "anything + auto_find_batch_size": lambda: situation(auto_find_batch_size=True),
}


def test_every_rule_has_a_case():
    assert {rule.name for rule in RULES} == set(CASES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_refuses_its_pair_in_one_sentence_with_a_way_out(rule):
    trainer = CASES[rule.name]()
    given = Compression(pruning=pruning(), quantization=quantization(), distillation=distillation())
    if rule.name == "distillation + an already quantized model":  # with the others, their rule speaks first
        given = dataclasses.replace(given, pruning=None, quantization=None)
    if rule.name.startswith("a criterion"):
        criterion = Movement() if "accumulates" in rule.name else Curious()
        given = dataclasses.replace(given, pruning=dataclasses.replace(given.pruning, criterion=criterion))
    assert rule.applies(trainer, given)
    with pytest.raises(CompressionError) as error:
        check_compatibility(trainer, given)
    assert str(error.value) == rule.message.replace("{host}", "Weighted").replace("{model}", type(trainer.model).__name__)
    assert ";" in rule.message or ":" in rule.message


def test_nothing_is_refused_in_an_ordinary_situation():
    check_compatibility(situation(), Compression(pruning=pruning(), distillation=distillation()))


def test_nothing_is_refused_where_fsdp_2_shards():
    check_compatibility(sharded(), Compression(pruning=pruning(), quantization=quantization(), distillation=distillation()))


def test_nothing_is_refused_when_nothing_is_compressed():
    for case in CASES.values():
        check_compatibility(case(), Compression())


def test_the_trainer_refuses_before_the_first_batch(tmp_path):
    with pytest.raises(CompressionError, match="label_smoothing_factor"):
        llama_trainer(tmp_path, {"distillation": distillation()}, label_smoothing_factor=0.1)


def test_targets_that_match_nothing_are_refused_in_the_constructor(tmp_path):
    from hf_compress import Pruning

    with pytest.raises(CompressionError, match="'Conv9d' matches no module"):
        llama_trainer(tmp_path, {"pruning": Pruning(targets=["Conv9d"])})


def test_a_schedule_that_ends_after_training_is_refused_before_the_first_step(tmp_path):
    trainer = llama_trainer(tmp_path, {"pruning": pruning(begin=0, end=13)})
    with pytest.raises(CompressionError, match="ends at step 13, but training has 12 steps"):
        trainer.train()
    assert trainer.state.global_step == 0
    assert not list(tmp_path.glob("checkpoint-*"))


# peft 0.21 itself still reads the old name
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_peft_models_can_be_distilled(tmp_path):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(tiny_llama(seed=0), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    job = Distillation(teacher=ModelTeacher(model=tiny_llama(seed=1)), losses=[(1.0, distillation().losses[0].loss)])
    trainer = llama_trainer(tmp_path, {"distillation": job}, model=model)
    before = {name: p.clone() for name, p in model.named_parameters() if "lora_" in name}
    trainer.train()
    assert any(not torch.equal(before[name], p) for name, p in model.named_parameters() if "lora_" in name)
    assert isinstance(trainer, CompressionTrainer)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it
def test_the_way_out_for_adapters_works_as_it_is_written(tmp_path):
    peft = pytest.importorskip("peft", reason="the peft extra is not installed")
    model = peft.get_peft_model(tiny_llama(), peft.LoraConfig(r=2, target_modules=["q_proj"])).merge_and_unload()
    with pytest.raises(CompressionError, match="no weight of the model asks for a gradient"):
        llama_trainer(tmp_path, jobs={"pruning": pruning()}, model=model)
    model.requires_grad_(True)
    llama_trainer(tmp_path, jobs={"pruning": pruning()}, model=model, max_steps=2, save_strategy="no").train()


@pytest.mark.parametrize(
    ("config", "optim", "refused"),
    [
        ({}, "galore_adamw", None),
        (ZERO_2, "adamw_torch_fused", None),
        (ZERO_2, "schedule_free_adamw", "schedule_free_adamw"),
        (ZERO_2 | {"optimizer": {"type": "AdamW"}}, "adafactor", None),
        (ZERO_2 | {"optimizer": {"type": "Lamb"}}, "adamw_torch", "Lamb"),
    ],
)
def test_zero_takes_optimizers_that_look_at_single_numbers(config, optim, refused):
    assert whole_tensor_optimizer(deepspeed(config, optim)) == refused


def test_projections_are_refused_under_deepspeed():
    check_projections(situation(), {0: "one"})
    check_projections(deepspeed(ZERO_2), {})
    with pytest.raises(CompressionError, match="projections .* under DeepSpeed are not supported, .*take losses without"):
        check_projections(deepspeed(ZERO_2), {0: "one"})


def test_another_batch_in_deepspeeds_configuration_is_refused_before_the_training():
    differences = [
        "- ds train_micro_batch_size_per_gpu=16 vs hf per_device_train_batch_size=2"
    ]  # as transformers notes them
    args = SimpleNamespace(hf_deepspeed_config=SimpleNamespace(mismatches=differences))
    with pytest.raises(CompressionError, match="size_per_gpu=16 there and per_device_train_batch_size=2 here; write auto"):
        check_arguments(args)


@pytest.mark.parametrize(("name", "kind"), [("tp_size", "tensor"), ("cp_size", "context"), ("sp_size", "sequence")])
def test_layers_and_rows_are_not_split_over_processes(name, kind, tmp_path):
    asked = ParallelismConfig(**{name: 2})
    with pytest.raises(CompressionError, match=f"^{name}=2: compression under {kind} parallelism .*; set {name} to 1"):
        llama_trainer(tmp_path, {"pruning": pruning()}, parallelism_config=asked)
    by_launcher = situation(accelerator=SimpleNamespace(state=SimpleNamespace(), parallelism_config=asked))
    with pytest.raises(CompressionError, match=f"^{name}=2"):
        check_compatibility(by_launcher, Compression(pruning=pruning()))


def test_sizes_of_1_train_the_same_curve(tmp_path):
    """In shards too: tests/distributed/test_fsdp2.py."""
    plain, sized = (
        llama_trainer(tmp_path, parallelism_config=config, save_strategy="no", max_steps=8)
        for config in (None, ParallelismConfig(tp_size=1, cp_size=1))
    )
    for trainer in (plain, sized):
        trainer.train()
    assert_equal_bits(weights(plain.model), weights(sized.model))
