"""One process of a two-process test: `python -m torch.distributed.run ... worker.py <folder> <task>,<task>...`."""

import gc
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
from accelerate.utils import patch_environment
from datasets import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_compress import (
    Calibration,
    CompressionError,
    CompressionMixin,
    CompressionTrainer,
    Cubic,
    Distillation,
    ModelTeacher,
    Movement,
    Pruning,
    Recipe,
    _distributed,
)
from hf_compress._errors import Terminated
from hf_compress.pruning.masks import Masks
from hf_compress.training.preemption import Preemption
from tests.distributed import adapted_runs
from tests.pruning.test_statistics import Curious
from tests.small import recipe, write_jsonl
from tests.training.ragged import collator, examples, losses, named_gradients, student_and_teacher
from tests.training.runs import llama_trainer, pruning, weights


class SaveGradients(TrainerCallback):
    def __init__(self, file):
        self.file = file

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if state.is_world_process_zero:
            torch.save(named_gradients(model, self.trainer), self.file)


def gradients(task, folder):
    student, teacher = student_and_teacher(task)
    catcher = SaveGradients(folder / f"{task}.pt")
    trainer = CompressionTrainer(
        model=student.double(),
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=1,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            train_sampling_strategy="sequential",
            max_grad_norm=0.0,
            use_cpu=True,
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
        ),
        train_dataset=Dataset.from_list(examples(task)),
        data_collator=collator(task, student),
        callbacks=[catcher],
        distillation=Distillation(teacher=ModelTeacher(model=teacher.double()), losses=losses(task), task_weight=0.8),
    )
    catcher.trainer = trainer
    assert trainer.accelerator.num_processes == 2
    trainer.train()
    if trainer.is_world_process_zero():
        (folder / f"{task}.json").write_text(json.dumps(trainer.state.log_history[0]))


def everything(folder):
    trainer = llama_trainer(folder, per_device_train_batch_size=2)
    assert trainer.accelerator.num_processes == 2
    trainer.train()
    torch.save(weights(trainer.model), folder / f"rank{trainer.args.process_index}.pt")
    resumed = llama_trainer(folder, per_device_train_batch_size=2)
    resumed.train(resume_from_checkpoint=str(folder / "checkpoint-6"))
    torch.save(weights(resumed.model), folder / f"resumed{trainer.args.process_index}.pt")


def calibrated(folder):
    """A criterion that sees data and gradients, each process its own batches: three of them, so that one has more."""
    jobs = {
        "pruning": Pruning(criterion=Curious(), schedule=Cubic(end="75%", every=2)),
        "calibration": Calibration(num_examples=6, batch_size=2),
    }
    trainer = llama_trainer(folder, jobs, per_device_train_batch_size=2, max_steps=6)
    modules = Masks(trainer.model, trainer.pruning).modules
    stats = trainer.progress.pruning._statistics(trainer.model, modules)
    torch.save(stats, folder / f"stats{trainer.args.process_index}.pt")
    trainer.train()
    torch.save(weights(trainer.model), folder / f"rank{trainer.args.process_index}.pt")
    resumed = llama_trainer(folder, jobs, per_device_train_batch_size=2, max_steps=6)
    resumed.train(resume_from_checkpoint=str(folder / "checkpoint-3"))
    torch.save(weights(resumed.model), folder / f"resumed{trainer.args.process_index}.pt")


def accumulated(folder):
    """A criterion that adds up gradients while it trains: what it has added up, and where the weights end."""
    jobs = {"pruning": Pruning(criterion=Movement(), schedule=Cubic(end="75%", every=2))}
    trainer = llama_trainer(folder, jobs, per_device_train_batch_size=2, max_steps=6)
    trainer.train()
    resumed = llama_trainer(folder, jobs, per_device_train_batch_size=2, max_steps=6)
    resumed.train(resume_from_checkpoint=str(folder / "checkpoint-3"))
    for name, one in (("rank", trainer), ("resumed", resumed)):
        found = {"weights": weights(one.model), "totals": one.progress.pruning.accumulated.totals}
        torch.save(found, folder / f"{name}{trainer.args.process_index}.pt")


class Tell(TrainerCallback):
    """One process is told to end."""

    def __init__(self, rank, step):
        self.rank, self.step = rank, step

    def on_step_begin(self, args, state, control, **kwargs):
        if args.process_index == self.rank and state.global_step == self.step - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def told(folder):
    """Straight; told to end at step 5 and gone on; the same with a checkpoint that the second process did not finish."""
    ends = {}

    def end(name, callbacks=(), resume=None):
        trainer = llama_trainer(folder / name, callbacks=list(callbacks), per_device_train_batch_size=2)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    ends["straight"] = weights(end("straight").model)
    preemption = Preemption()
    heard = False
    try:
        with preemption.heard():
            end("told", [preemption, Tell(1, 5)])
    except Terminated:
        heard = True
    assert heard, "both processes end"
    if _distributed.is_main():
        assert sorted(path.name for path in (folder / "told").glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-5"]
        shutil.copytree(folder / "told", folder / "late")
        (folder / "late" / "checkpoint-5" / "rng_state_1.pth").unlink()
    _distributed.barrier()
    ends["told"] = weights(end("told", resume=True).model)
    watch = First()
    ends["late"] = weights(end("late", [watch], resume=True).model)
    assert watch.step == 3
    torch.save(ends, folder / f"ends{torch.distributed.get_rank()}.pt")


class First(TrainerCallback):
    """The step a training begins with."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.step = state.global_step


class SlowToSave(Trainer):
    def _save_rng_state(self, output_dir):
        if self.args.process_index == 1:
            time.sleep(0.2)
        super()._save_rng_state(output_dir)


class LastOfAll(TrainerCallback):
    """trainer_state.json says that a checkpoint is whole, and earlier ones may be gone then."""

    def on_save(self, args, state, control, **kwargs):
        assert (Path(args.output_dir) / f"checkpoint-{state.global_step}" / "rng_state_1.pth").exists()


def saved_together(folder):
    cls = type("Slow", (CompressionMixin, SlowToSave), {})
    trainer = llama_trainer(
        folder, {"pruning": pruning()}, cls=cls, callbacks=[LastOfAll()], max_steps=6, save_total_limit=1
    )
    trainer.train()


def refusals(folder):
    """What each process hears where one is alone with a mistake."""
    rank, heard = torch.distributed.get_rank(), {}

    def note(name, action):
        try:
            action()
        except CompressionError as error:
            heard[name] = [str(error), error.in_all]

    def run(**changes):
        Recipe.from_plain(recipe(folder, {"data.path": "~/train.jsonl", **changes})).run()

    rows = [{"text": f"sentence {n} says that {n} times {n} is {n * n} and nothing else"} for n in range(200)]
    homes = [folder / "zero", folder / "one"]
    if rank == 0:
        for home in homes:
            home.mkdir()
        write_jsonl(homes[0] / "train.jsonl", rows)
    _distributed.barrier()
    os.environ["HOME"] = str(homes[rank])
    note("no data in one", run)
    _distributed.barrier()
    if rank == 1:
        write_jsonl(homes[1] / "train.jsonl", rows[50:])
    note("other data in one", run)
    note("another recipe in one", lambda: run(**{"evaluation.batch_size": 2 + rank}))
    llama_trainer(folder, {}, max_steps=1, save_steps=1).train()
    begin = str(folder / "checkpoint-1") if rank else None
    note("another checkpoint in one", lambda: llama_trainer(folder, {}).train(resume_from_checkpoint=begin))
    with patch_environment(ACCELERATE_USE_FSDP="false"):  # where accelerate notes that it was asked for
        note("FSDP on CPUs", lambda: llama_trainer(folder, fsdp=True, fsdp_config={"version": 2}))
    heard["written"] = (folder / "out").exists()
    (folder / f"heard{rank}.json").write_text(json.dumps(heard))


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # every training collects, and would walk through the libraries
    folder = Path(sys.argv[1])
    for name in sys.argv[2].split(","):
        gradients(name, folder)
    for run in (everything, calibrated, accumulated, told, saved_together, refusals):
        (folder / run.__name__).mkdir(exist_ok=True)
        run(folder / run.__name__)
    adapted_runs.adapted(folder / "adapted", 2)
    (folder / "beneath").mkdir(exist_ok=True)
    adapted_runs.pruned_beneath(folder / "beneath")
    _distributed.leave()  # gloo's threads must end before the interpreter does
