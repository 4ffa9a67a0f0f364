"""An adapter taught by a teacher: trained by one process, and by several under every strategy; shared with the workers."""

import torch
from peft import LoraConfig, get_peft_model

from hf_compress import CompressionError, Distillation, ForwardKL, ModelTeacher, _distributed
from hf_compress.training.averaging.tensors import full_state_dict
from tests.tiny import tiny_llama
from tests.training.runs import assert_equal_bits, llama_trainer, pruning

SETTINGS = {"max_steps": 4, "optim": "sgd", "learning_rate": 0.5, "save_steps": 2, "logging_steps": 2}
BATCH = 4


def student(dtype=torch.bfloat16, **changes):
    """Tied embeddings and a frozen base in bf16, below factors in fp32 that begin with numbers of their own."""
    base = tiny_llama(seed=0, tie_word_embeddings=True).to(dtype)
    settings = {"r": 2, "target_modules": ["q_proj", "up_proj"], "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return get_peft_model(base, LoraConfig(**settings | changes))


def trainer_of(folder, processes, model=None, **changes):
    job = {"distillation": Distillation(teacher=ModelTeacher(model=tiny_llama(seed=3)), losses=[(0.7, ForwardKL())])}
    settings = {**SETTINGS, "per_device_train_batch_size": BATCH // processes, **changes}
    return llama_trainer(folder, job, model=student() if model is None else model, **settings)


def adapted(folder, processes, **changes):
    """Straight, from the checkpoint in the middle, saved and finalized; what it ended with is left for the test."""
    folder.mkdir(parents=True, exist_ok=True)
    trainer = trainer_of(folder, processes, **changes)
    trainer.train()
    ended = full_state_dict(trainer.model, keep=True)
    torch.save(ended, folder / f"ended{trainer.args.process_index}.pt")
    trainer.save_model(str(folder / "saved"))
    again = trainer_of(folder / "again", processes, **changes)
    again.train(resume_from_checkpoint=str(folder / "checkpoint-2"))
    assert_equal_bits(ended, full_state_dict(again.model, keep=True))
    trainer.finalize()
    trainer.save_model(str(folder / "final"))
    _distributed.barrier()


def pruned_beneath(folder):
    """The base is pruned while the adapter trains; straight and resumed, and what both merge into."""
    for name, resume in (("straight", None), ("resumed", str(folder / "checkpoint-2"))):
        trainer = llama_trainer(folder, {"pruning": pruning()}, student(torch.float32), **SETTINGS)
        trainer.train(resume_from_checkpoint=resume)
        found = {"adapted": dict(trainer.model.state_dict()), "masks": dict(trainer.progress.masks.keep)}
        found["merged"] = dict(trainer.finalize().state_dict())
        torch.save(found, folder / f"{name}{trainer.args.process_index}.pt")


def refused(folder, processes, **changes):
    """What is said of an adapter that saves one of two tied weights whole; None where it trains."""
    try:
        trainer_of(
            folder, processes, model=student(torch.float32, modules_to_save=["lm_head"]), max_steps=1, **changes
        ).train()
    except CompressionError as error:
        return str(error)
    return None
