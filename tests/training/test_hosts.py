"""The same mixin over Trainer, Seq2SeqTrainer and TRL's SFTTrainer."""

import pytest
import torch
from datasets import Dataset
from transformers import Seq2SeqTrainingArguments

from hf_compress import (
    CompressionMixin,
    CompressionSeq2SeqTrainer,
    CompressionTrainer,
    Distillation,
    ForwardKL,
    ModelTeacher,
    Pruning,
)
from hf_compress.pruning.compute import measure_sparsity
from tests.tiny import tiny_bart, tiny_bert, tiny_gpt2, tiny_llama, tiny_t5
from tests.training.ragged import examples, pad_batch
from tests.training.runs import arguments, llama_trainer, pruning, quantization, text_rows, weights


def divergence(student, teacher, batch):
    """KL(teacher || student) in nats per position, in eval mode."""
    student.eval(), teacher.eval()
    with torch.no_grad():
        log_q, log_p = (torch.log_softmax(model(**batch).logits, -1) for model in (student, teacher))
    return float((log_p.exp() * (log_p - log_q)).sum(-1).mean())


def pure_distillation(teacher):
    return Distillation(teacher=ModelTeacher(model=teacher), losses=[(1.0, ForwardKL())], task_weight=0.0)


def test_distillation_alone_moves_the_student_to_the_teacher(tmp_path):
    student, teacher = tiny_llama(seed=0), tiny_llama(seed=1)
    batch = {"input_ids": torch.arange(3, 27).view(2, 12)}
    before = divergence(student, teacher, batch)
    llama_trainer(tmp_path, {"distillation": pure_distillation(teacher)}, model=student, max_steps=30).train()
    assert divergence(student, teacher, batch) < 0.7 * before


@pytest.mark.parametrize("build", [tiny_t5, tiny_bart], ids=["t5", "bart"])
def test_seq2seq_trainer_prunes_quantizes_and_distils(build, tmp_path):
    args = Seq2SeqTrainingArguments(**{**arguments(tmp_path).to_dict(), "output_dir": str(tmp_path)})
    trainer = CompressionSeq2SeqTrainer(
        model=build(seed=0),
        args=args,
        train_dataset=Dataset.from_list(examples("seq2seq") * 4),
        data_collator=pad_batch,
        pruning=pruning(),
        quantization=quantization(),
        distillation=Distillation(teacher=ModelTeacher(model=build(seed=1)), losses=[(0.5, ForwardKL())]),
    )
    trainer.train()
    assert measure_sparsity(trainer.model, trainer.pruning)[""] == pytest.approx(0.5, abs=1e-3)
    trained = [entry for entry in trainer.state.log_history if "distillation_loss" in entry]
    assert all(entry["task_loss"] > 0 and entry["distillation_loss"] > 0 for entry in trained)
    trainer.finalize()


def test_bert_with_accumulation_logs_a_loss_that_is_not_multiplied(tmp_path):
    """The head's own loss ignores the number of items in the accumulated batch and would be four times too large."""

    def run(batch_size, accumulation):
        trainer = CompressionTrainer(
            model=tiny_bert(seed=0, num_labels=3).eval(),
            args=arguments(
                tmp_path,
                max_steps=1,
                logging_steps=1,
                per_device_train_batch_size=batch_size,
                gradient_accumulation_steps=accumulation,
                train_sampling_strategy="sequential",
            ),
            train_dataset=Dataset.from_list(examples("sequence_classification")),
            data_collator=pad_batch,
            distillation=Distillation(losses=[(0.5, ForwardKL())]),
        )
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        trainer.train()
        return trainer.state.log_history[0]["loss"]

    assert run(8, 1) == pytest.approx(run(2, 4), rel=1e-3)


def test_conv1d_of_gpt2_is_pruned_when_targeted(tmp_path):
    job = Pruning(schedule=pruning().schedule, targets=["Conv1D"])
    trainer = llama_trainer(tmp_path, {"pruning": job}, model=tiny_gpt2(seed=0))
    trainer.train()
    weight = trainer.model.transformer.h[0].attn.c_attn.weight
    assert int((weight == 0).sum()) == weight.numel() // 2


def test_logs_carry_both_losses_and_the_sparsity(tmp_path):
    trainer = llama_trainer(tmp_path)
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["sparsity"] for entry in entries] == pytest.approx([0.4815, 0.5, 0.5], abs=2e-3)
    for entry in entries:
        assert 0.3 * entry["task_loss"] + 0.7 * entry["distillation_loss"] == pytest.approx(entry["loss"], rel=1e-3)


def test_evaluation_loss_is_the_plain_task_loss(tmp_path):
    plain = llama_trainer(tmp_path / "plain", {})
    distilled = llama_trainer(tmp_path / "distilled", {"distillation": pure_distillation(tiny_llama(seed=1))})
    assert plain.evaluate()["eval_loss"] == pytest.approx(distilled.evaluate()["eval_loss"], rel=1e-6)


class TestSFT:
    """TRL's trainer returns logits without gradient; a distillation loss built on them would train nothing."""

    @pytest.fixture
    def sft(self, tmp_path):
        trl = pytest.importorskip("trl", reason="the trl extra is not installed")

        class DistillingSFTTrainer(CompressionMixin, trl.SFTTrainer):
            pass

        def make(model, **jobs):
            from tests.tiny import tiny_tokenizer

            args = trl.SFTConfig(
                output_dir=str(tmp_path),
                max_steps=jobs.pop("max_steps", 30),
                per_device_train_batch_size=4,
                learning_rate=1e-2,
                use_cpu=True,
                bf16=False,
                save_strategy="no",
                disable_tqdm=True,
                report_to="none",
                activation_checkpointing=False,
            )
            rows = Dataset.from_list([{"text": f"word {number} and {number * 7 % 31}"} for number in range(40)])
            return DistillingSFTTrainer(
                model=model, args=args, train_dataset=rows, processing_class=tiny_tokenizer(), **jobs
            )

        return make

    def test_distillation_really_trains(self, sft):
        from tests.tiny import tiny_tokenizer

        student, teacher = tiny_llama(seed=0), tiny_llama(seed=1)
        batch = {"input_ids": tiny_tokenizer()("word 12 and 22", return_tensors="pt")["input_ids"]}
        before = divergence(student, teacher, batch)
        sft(student, distillation=pure_distillation(teacher)).train()
        assert divergence(student, teacher, batch) < 0.7 * before

    def test_pruning_and_quantization_work(self, sft):
        trainer = sft(tiny_llama(seed=0), pruning=pruning(), quantization=quantization(), max_steps=12)
        trainer.train()
        assert measure_sparsity(trainer.model, trainer.pruning)[""] == pytest.approx(0.5, abs=1e-3)
        trainer.finalize()


def test_teacher_answers_in_eval_mode_without_gradient(tmp_path):
    trainer = llama_trainer(tmp_path, {"distillation": pure_distillation(tiny_llama(seed=1))})
    trainer.train()
    signal = trainer._own_loss.distillation.teacher.signal({"input_ids": torch.arange(3, 9).view(1, 6)})
    assert not signal.logits.requires_grad
    assert weights(trainer._own_loss.distillation.teacher.model)


def test_a_batch_without_labels_is_refused(tmp_path):
    trainer = llama_trainer(tmp_path, {"distillation": pure_distillation(tiny_llama(seed=1))})
    trainer.train_dataset = text_rows().remove_columns("labels")
    with pytest.raises(ValueError, match="labels"):
        trainer.train()
