"""What teacher and student see, over Trainer, SFTTrainer and DPOTrainer; and what is logged of it."""

import copy
import functools
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorWithFlattening, Trainer

from hf_compress import (
    MSE,
    CompressionError,
    CompressionMixin,
    CompressionTrainer,
    Distillation,
    ForwardKL,
    ModelTeacher,
    Quantization,
)
from tests.tiny import tiny_bert, tiny_llama, tiny_tokenizer
from tests.training.runs import arguments, llama_trainer, pruning, text_rows

TOKENS = {"input_ids": torch.arange(3, 15).view(1, 12)}


def half(teacher=None, loss=None):
    return Distillation(teacher=ModelTeacher(model=teacher), losses=[(0.5, loss or ForwardKL())])


def logged(trainer, key="distillation_loss"):
    return [entry[key] for entry in trainer.state.log_history if key in entry]


def sft(folder, model, rows=None, tokenizer=None, config=None, **jobs):
    trl = pytest.importorskip("trl", reason="the trl extra is not installed")

    class DistillingSFTTrainer(CompressionMixin, trl.SFTTrainer):
        pass

    settings = {
        "output_dir": str(folder),
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "learning_rate": 5e-3,
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        "report_to": "none",
        **(config or {}),
    }
    rows = rows or Dataset.from_list([{"text": f"word {number} and {number * 7 % 31}"} for number in range(40)])
    return DistillingSFTTrainer(
        model=model,
        args=trl.SFTConfig(**settings),
        train_dataset=rows,
        processing_class=tokenizer or tiny_tokenizer(),
        **jobs,
    )


class TestTheDefaultTeacher:
    """A copy of the student that shares nothing with it: the same figures as an equal teacher in memory."""

    @staticmethod
    def figures(make, student, teacher):
        trainer = make(student, half(teacher))
        before = trainer._own_loss.distillation.teacher.signal(TOKENS).logits
        trainer.train()
        after = trainer._own_loss.distillation.teacher.signal(TOKENS).logits
        assert torch.equal(before, after)
        with torch.no_grad():
            assert not torch.equal(student.eval()(**TOKENS).logits, after)
        return logged(trainer)

    def test_under_sft_it_does_not_follow_the_student(self, tmp_path):
        def make(model, job):
            return sft(tmp_path, model, distillation=job)

        copied = self.figures(make, tiny_llama(seed=0), None)
        assert len(copied) == 6 and copied[0] == 0 and min(copied[1:]) > 1e-4
        assert copied == self.figures(make, tiny_llama(seed=0), tiny_llama(seed=0))

    @pytest.mark.parametrize("how", ["pruning", "quantization"])
    def test_alone_it_teaches_a_student_that_is_compressed_under_sft(self, how, tmp_path):
        """The whole loss is the distance that compression made: 0 would train nothing."""

        def run(teacher):
            jobs = {"pruning": pruning(every=1)} if how == "pruning" else {"quantization": Quantization(scheme="W8A8")}
            job = Distillation(teacher=ModelTeacher(model=teacher), losses=[(1.0, ForwardKL())], task_weight=0.0)
            trainer = sft(tmp_path, tiny_llama(seed=0), distillation=job, **jobs)
            trainer.train()
            return logged(trainer), logged(trainer, "grad_norm")

        losses, norms = run(None)
        assert max(losses) > 1e-3 and max(norms) > 1e-2
        assert (losses, norms) == run(tiny_llama(seed=0))

    @pytest.mark.parametrize("how", ["torch.compile", "wrapped forward", "accelerate hook"])
    def test_under_a_replaced_forward_it_does_not_follow_the_student(self, how, tmp_path):
        def make(model, job):
            if how == "torch.compile":
                model.forward = torch.compile(model.forward, backend="eager")
            elif how == "wrapped forward":
                original = model.forward
                model.forward = functools.wraps(original)(lambda *args, **kwargs: original(*args, **kwargs))
            else:
                from accelerate.hooks import ModelHook, add_hook_to_module

                add_hook_to_module(model, ModelHook())
            return llama_trainer(
                tmp_path, {"distillation": job}, model=model, max_steps=4, logging_steps=1, learning_rate=5e-3
            )

        copied = self.figures(make, tiny_llama(seed=0), None)
        assert min(copied[1:]) > 1e-4
        assert copied == self.figures(make, tiny_llama(seed=0), tiny_llama(seed=0))

    @pytest.mark.parametrize("head", [tiny_llama, tiny_bert])
    def test_with_model_init_it_is_a_copy_of_the_model_that_is_trained(self, head, tmp_path):
        rows = Dataset.from_list([{"input_ids": [5, 6, 7], "labels": [5, 6, 7] if head is tiny_llama else 1}] * 8)
        trainer = CompressionTrainer(
            model_init=lambda: head(seed=0, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
            args=arguments(tmp_path, max_steps=2, logging_steps=1),
            train_dataset=rows,
            distillation=half(),
        )
        first = trainer._own_loss.distillation
        trainer.train()
        assert trainer._own_loss.distillation is not first and trainer._own_loss.step is trainer._own_loss.distillation
        assert logged(trainer)[0] == 0 and logged(trainer)[1] > 0

    def test_a_hook_that_leads_back_to_the_student_is_refused(self, tmp_path):
        model = tiny_llama(seed=0)
        model.lm_head.register_forward_hook(lambda *_: model.model.embed_tokens.weight @ torch.ones(32, 64))
        with pytest.raises(CompressionError, match="forward hooks of lm_head leads back to the student"):
            llama_trainer(tmp_path, {"distillation": half()}, model=model)


class TestIdenticalWeightsGiveNoDivergence:
    """Whatever is set on the student holds for the teacher, so KL is exactly 0, also with a teacher whose cache is on."""

    @staticmethod
    def rows():
        generator = torch.Generator().manual_seed(0)
        ids = [torch.randint(3, 60, (5 + number,), generator=generator).tolist() for number in range(8)]
        return Dataset.from_list([{"input_ids": row, "labels": row} for row in ids])

    @pytest.mark.parametrize("seq_idx", [False, True])
    def test_in_flattened_batches(self, seq_idx, tmp_path):
        teacher = tiny_llama(seed=0)
        assert teacher.config.use_cache
        trainer = CompressionTrainer(
            model=tiny_llama(seed=0),
            args=arguments(tmp_path, max_steps=1, logging_steps=1),
            train_dataset=self.rows(),
            data_collator=DataCollatorWithFlattening(return_flash_attn_kwargs=seq_idx, return_seq_idx=seq_idx),
            distillation=half(teacher),
        )
        trainer.train()
        assert logged(trainer) == [0] and logged(trainer, "teacher_agreement") == [1]
        assert teacher.config.use_cache  # a model of the user's stays as it was

    @pytest.mark.parametrize("packing", [False, True])
    def test_in_sft(self, packing, tmp_path):
        config = {"packing": packing, "max_length": 32, "max_steps": 1, "padding_free": packing}
        trainer = sft(tmp_path, tiny_llama(seed=0), config=config, distillation=half(tiny_llama(seed=0)))
        trainer.train()
        assert logged(trainer) == [0]

    def test_in_padded_batches_under_autocast_from_a_folder_and_with_another_attention(self, tmp_path):
        saved = tiny_llama(seed=0)
        saved.save_pretrained(tmp_path / "teacher")
        student = tiny_llama(seed=0, attn_implementation="eager")
        job = {"distillation": half(str(tmp_path / "teacher"))}
        trainer = llama_trainer(tmp_path, job, model=student, max_steps=1, logging_steps=1, bf16=True)
        assert trainer._own_loss.distillation.teacher.model.config._attn_implementation == "eager"
        trainer.train()
        assert logged(trainer) == [0]

    def test_packing_arguments_reach_a_teacher_of_another_class(self):
        seen = {}

        class Curious(type(tiny_llama())):
            def forward(self, input_ids=None, **kwargs):
                seen.update(kwargs)
                return super().forward(
                    input_ids=input_ids, **{key: kwargs[key] for key in ("position_ids",) if key in kwargs}
                )

        loaded = ModelTeacher(model=Curious(tiny_llama(seed=1).config)).load(tiny_llama(seed=0), torch.device("cpu"))
        batch = DataCollatorWithFlattening(return_flash_attn_kwargs=True, return_seq_idx=True)(list(self.rows()))
        loaded.signal({**batch, "token_type_ids": batch["input_ids"]})
        assert {"position_ids", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx"} <= set(seen)
        assert "token_type_ids" not in seen

    def test_with_a_student_and_a_teacher_that_answer_in_tuples(self, tmp_path):
        student, teacher = tiny_llama(seed=0), tiny_llama(seed=0)
        student.config.return_dict = teacher.config.return_dict = False
        trainer = llama_trainer(tmp_path, {"distillation": half(teacher)}, model=student, max_steps=1, logging_steps=1)
        trainer.train()
        assert logged(trainer) == [0] and student.config.return_dict is False


class TestHeads:
    def test_multi_label_heads_have_the_mean_of_bernoulli_divergences(self, tmp_path):
        """Labels far too likely by 3 each: a softmax over labels would see nothing."""
        student = tiny_bert(seed=0, num_labels=4, problem_type="multi_label_classification")
        teacher = copy.deepcopy(student)
        with torch.no_grad():
            student.classifier.bias += 3
        rows = Dataset.from_list([{"input_ids": [5, 6, 7], "labels": [1.0, 0.0, 1.0, 0.0]}] * 8)
        trainer = CompressionTrainer(
            model=student,
            args=arguments(tmp_path, max_steps=1, logging_steps=1),
            train_dataset=rows,
            distillation=half(teacher),
        )
        for module in student.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        with torch.no_grad():
            batch = {"input_ids": torch.tensor([[5, 6, 7]])}
            p = torch.sigmoid(teacher.eval()(**batch).logits)
            q = torch.sigmoid(student.eval()(**batch).logits)
        wanted = float((p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean())
        trainer.train()
        assert wanted > 0.5
        assert logged(trainer) == pytest.approx([wanted], rel=1e-4)

    def test_regression_is_refused_with_the_loss_that_would_do_and_trains_with_it(self, tmp_path):
        rows = Dataset.from_list([{"input_ids": [5, 6, 7], "labels": 0.5}] * 8)

        def make(loss):
            return CompressionTrainer(
                model=tiny_bert(seed=0, num_labels=1),
                args=arguments(tmp_path, max_steps=2, logging_steps=1),
                train_dataset=rows,
                distillation=half(tiny_bert(seed=1, num_labels=1), loss),
            )

        with pytest.raises(
            CompressionError, match=r"forward_kl is not defined for numbers .* BertForSequence.*; take (.+ or )?mse"
        ):
            make(ForwardKL())
        trainer = make(MSE())
        trainer.train()
        assert len(logged(trainer)) == 2 and min(logged(trainer)) > 0
        assert logged(trainer, "teacher_agreement") == []

    def test_labels_in_another_order_are_reordered_by_name(self, tmp_path):
        student, teacher = tiny_bert(seed=0), tiny_bert(seed=0)
        order = [2, 0, 1]  # the teacher's class i is the student's order[i]
        with torch.no_grad():
            teacher.classifier.weight.copy_(student.classifier.weight[order])
            teacher.classifier.bias.copy_(student.classifier.bias[order])
        names = ["good", "bad", "so"]
        student.config.id2label = dict(enumerate(names))
        teacher.config.id2label = {index: names[own] for index, own in enumerate(order)}
        for module in student.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        rows = Dataset.from_list([{"input_ids": [5, 6, 7 + number], "labels": number % 3} for number in range(8)])
        trainer = CompressionTrainer(
            model=student,
            args=arguments(tmp_path, max_steps=1, logging_steps=1),
            train_dataset=rows,
            distillation=half(teacher),
        )
        trainer.train()
        assert logged(trainer) == pytest.approx([0], abs=1e-6)

    def test_a_longer_padding_of_the_students_vocabulary_teaches(self, tmp_path):
        """The same model with 16 rows more, which no token has: no divergence over the ids of both."""
        student, teacher = tiny_llama(seed=0), tiny_llama(seed=0, vocab_size=80)
        with torch.no_grad():
            for name, tensor in teacher.state_dict().items():
                tensor[: len(student.state_dict()[name])] = student.state_dict()[name]
        teacher.save_pretrained(tmp_path / "teacher")
        tiny_tokenizer().save_pretrained(tmp_path / "teacher")
        trainer = CompressionTrainer(
            model=student,
            args=arguments(tmp_path / "run", max_steps=1, logging_steps=1, save_strategy="no"),
            train_dataset=text_rows(),
            processing_class=tiny_tokenizer(),
            distillation=half(str(tmp_path / "teacher")),
        )
        trainer.train()
        assert logged(trainer) == pytest.approx([0], abs=1e-6)


class TestLogs:
    def test_a_weight_of_a_loss_is_not_in_its_figure(self, tmp_path):
        def first(weight):
            job = Distillation(
                teacher=ModelTeacher(model=tiny_llama(seed=1)), losses=[(weight, ForwardKL())], task_weight=weight
            )
            trainer = llama_trainer(tmp_path, {"distillation": job}, logging_steps=1, max_steps=1, save_strategy="no")
            trainer.train()
            return {key: value for key, value in trainer.state.log_history[0].items() if key.endswith("loss")}

        whole, tenth = first(1.0), first(0.1)
        for key in ("task_loss", "distillation_loss"):
            assert tenth[key] == pytest.approx(whole[key], rel=1e-5), key
        assert tenth["loss"] == pytest.approx(whole["loss"] / 10, rel=1e-3)

    def test_losses_are_unweighted_and_the_total_is_loss(self, tmp_path):
        job = Distillation(
            teacher=ModelTeacher(model=tiny_llama(seed=1)),
            losses=[(0.5, ForwardKL()), (0.1, MSE())],
            task_weight=0.2,
        )
        trainer = llama_trainer(tmp_path, {"distillation": job}, logging_steps=1, max_steps=3)
        trainer.train()
        for entry in trainer.state.log_history[:-1]:
            total = 0.2 * entry["task_loss"] + 0.6 * entry["distillation_loss"]
            assert total == pytest.approx(entry["loss"], rel=1e-4)
            assert 0 <= entry["teacher_agreement"] <= 1
        plain = llama_trainer(tmp_path, {}, logging_steps=1, max_steps=1)
        plain.train()
        assert logged(trainer, "task_loss")[0] == pytest.approx(logged(plain, "loss")[0], rel=1e-5)

    def test_agreement_is_that_of_a_count_by_hand(self, tmp_path):
        student, teacher = tiny_llama(seed=0), tiny_llama(seed=1)
        trainer = llama_trainer(
            tmp_path,
            {"distillation": half(teacher)},
            model=student,
            max_steps=1,
            logging_steps=1,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=4,
        )
        ids = torch.tensor(trainer.train_dataset["input_ids"])
        with torch.no_grad():
            same = student.eval()(ids).logits[:, :-1].argmax(-1) == teacher.eval()(ids).logits[:, :-1].argmax(-1)
        trainer.train()
        assert logged(trainer, "teacher_agreement") == pytest.approx([float(same.float().mean())], abs=1e-6)

    def test_the_loss_can_be_computed_before_training(self, tmp_path):
        trainer = llama_trainer(tmp_path, {"distillation": half(tiny_llama(seed=1))})
        trainer.model.train()
        batch = {"input_ids": TOKENS["input_ids"], "labels": TOKENS["input_ids"]}
        assert torch.isfinite(trainer.compute_loss(trainer.model, batch))
        assert torch.isfinite(trainer.compute_loss(trainer.model, batch, num_items_in_batch=11))


class TestRefusedHosts:
    def test_a_teacher_with_another_tokenizer_of_equal_size_is_no_teacher(self, tmp_path):
        tiny_llama(seed=1).save_pretrained(tmp_path / "teacher")
        tokenizer = tiny_tokenizer()
        tokenizer.add_tokens(["another"])
        tokenizer.save_pretrained(tmp_path / "teacher")
        with pytest.raises(CompressionError, match="the teacher's tokenizer is another one than the student's: 'another'"):
            CompressionTrainer(
                model=tiny_llama(seed=0),
                args=arguments(tmp_path / "run"),
                train_dataset=text_rows(),
                processing_class=tiny_tokenizer(),
                distillation=half(str(tmp_path / "teacher")),
            )

    def test_a_loss_of_the_hosts_own_is_not_dropped(self, tmp_path):
        class Weighted(Trainer):
            def compute_loss(self, *args, **kwargs):
                return super().compute_loss(*args, **kwargs)

        class Mine(CompressionMixin, Weighted):
            pass

        with pytest.raises(CompressionError, match="Mine computes its own loss"):
            llama_trainer(tmp_path, {"distillation": half()}, cls=Mine)
        llama_trainer(tmp_path, {}, cls=Mine)

    def test_an_override_in_front_of_the_mixin_is_called(self, tmp_path):
        calls = []

        class Watching(CompressionTrainer):
            def compute_loss(self, *args, **kwargs):
                calls.append(1)
                return super().compute_loss(*args, **kwargs)

        llama_trainer(tmp_path, {"distillation": half(tiny_llama(seed=1))}, cls=Watching, max_steps=2).train()
        assert len(calls) == 2

    def test_dpo_is_refused_when_the_trainer_is_made(self, tmp_path):
        trl = pytest.importorskip("trl", reason="the trl extra is not installed")

        class Preferring(CompressionMixin, trl.DPOTrainer):
            pass

        rows = Dataset.from_list([{"prompt": "a b", "chosen": "c d", "rejected": "e f"}] * 4)
        args = trl.DPOConfig(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none"
        )
        with pytest.raises(CompressionError, match="Preferring computes its own loss .* preference"):
            Preferring(
                model=tiny_llama(seed=0),
                ref_model=tiny_llama(seed=0),
                args=args,
                train_dataset=rows,
                processing_class=tiny_tokenizer(),
                distillation=half(),
            )

    @pytest.mark.parametrize(("key", "value"), [("loss_type", "dft"), ("activation_offloading", True)])
    def test_settings_of_sft_that_the_loss_would_ignore_are_refused(self, key, value, tmp_path):
        with pytest.raises(CompressionError, match=key):
            sft(tmp_path, tiny_llama(seed=0), config={key: value}, distillation=half())

    def test_a_quantized_student_is_refused(self, tmp_path):
        student = tiny_llama(seed=0)
        student.is_quantized = True
        student.hf_quantizer = SimpleNamespace(is_trainable=True, is_qat_trainable=True)
        with pytest.raises(CompressionError, match="already quantized, so distillation would train its norms"):
            llama_trainer(tmp_path, {"distillation": half()}, model=student)


def test_a_head_by_another_name_is_distilled_as_the_refusal_says(tmp_path):
    renamed = type("Renamed", (type(tiny_llama()),), {})
    model = renamed(tiny_llama().config)
    with pytest.raises(CompressionError, match="no task loss for Renamed.*model.loss_type = 'ForCausalLM'"):
        llama_trainer(tmp_path, model=model)
    model = renamed(tiny_llama().config)
    model.loss_type = "ForCausalLM"
    llama_trainer(tmp_path, model=model, max_steps=2, save_strategy="no").train()
