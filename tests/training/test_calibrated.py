"""Criteria that see data, inside the Trainer."""

import random
from dataclasses import dataclass

import pytest
import torch
from datasets import Dataset
from transformers import BertForMaskedLM, DataCollatorForLanguageModeling

from hf_compress import Calibration, CompressionError, CompressionTrainer, Constant, Cubic, Pruning
from hf_compress.calibration.collect import collect
from hf_compress.calibration.examples import calibration_batches
from hf_compress.jobs.train import save_result as save_result_module
from hf_compress.jobs.train import untrained
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.prune import prune
from tests.pruning.needy import Needy
from tests.pruning.test_statistics import Curious
from tests.tiny import tiny_bert, tiny_llama, tiny_tokenizer
from tests.training.runs import (
    arguments,
    assert_equal_bits,
    everything,
    image_rows,
    llama_trainer,
    text_rows,
    tiny_vit,
    weights,
)
from tests.training.test_resume import StopAt

FEW = Calibration(num_examples=6, batch_size=4)


def needy(**changes):
    return Pruning(criterion=Needy(), schedule=Cubic(**{"final": 0.5, "end": "75%", "every": 2, **changes}))


def jobs(**changes):
    return {"pruning": needy(), "calibration": FEW, **changes}


@dataclass(frozen=True, kw_only=True)
class Watched(Needy):
    """Notes what it is given."""

    name = "watched"

    def score(self, weight, stats):
        SEEN.append(stats["input_norm"].clone())
        return super().score(weight, stats)


SEEN = []


@pytest.fixture(autouse=True)
def nothing_seen():
    SEEN.clear()


def test_statistics_are_collected_anew_from_the_weights_at_every_move_of_the_masks(tmp_path):
    job = Pruning(criterion=Watched(), schedule=Cubic(final=0.5, end=4, every=2), targets=["re:.*1.mlp.down_proj"])
    trainer = llama_trainer(tmp_path, {"pruning": job, "calibration": FEW}, max_steps=5)
    moments = []
    update = trainer.progress.pruning._statistics

    def noted(model, modules):
        before = {name: one.detach().clone() for name, one in model.named_parameters()}
        found = update(model, modules)
        moments.append((before, found["model.layers.1.mlp.down_proj"]["input_norm"]))
        assert model.training and all(torch.equal(one, before[name]) for name, one in model.named_parameters())
        return found

    trainer.progress.pruning._statistics = noted
    trainer.train()
    assert len(moments) == 1 + 2, "once before the first step, then at each move"
    assert all(torch.equal(norm, seen) for (_, norm), seen in zip(moments[1:], SEEN, strict=True))
    for before, norm in moments:
        model = tiny_llama()
        model.load_state_dict(before, strict=False)
        rows = calibration_batches(text_rows(), trainer.data_collator, FEW)
        again = collect(model, rows, ["input_norm"])["input_norm"]["model.layers.1.mlp.down_proj.weight"]
        assert torch.equal(norm, again)
    assert not torch.equal(moments[1][1], moments[2][1])


JOBS = {
    "pruning": jobs,
    "gradients too": lambda: jobs(pruning=Pruning(criterion=Curious(), schedule=Cubic(end="75%", every=2))),
    "everything": lambda: {**everything(), **jobs()},
}


@pytest.mark.parametrize("wanted", JOBS.values(), ids=JOBS)
@pytest.mark.parametrize("stop", [3, 6])
def test_resumed_run_equals_straight_run_bit_for_bit(wanted, stop, tmp_path):
    straight = llama_trainer(tmp_path / "straight", wanted())
    straight.train()
    llama_trainer(tmp_path / "resumed", wanted(), callbacks=[StopAt(stop)]).train()
    resumed = llama_trainer(tmp_path / "resumed", wanted())
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 12
    assert_equal_bits(weights(straight.model), weights(resumed.model))


def test_calibration_changes_nothing_but_the_masks(tmp_path):
    """The same run by magnitude, with a schedule that prunes nothing: random states and data go on as they were."""
    plain = llama_trainer(tmp_path / "plain", {"pruning": Pruning(schedule=Cubic(final=0.0, every=2))})
    seeing = llama_trainer(tmp_path / "seeing", jobs(pruning=needy(final=0.0)))
    ends = []
    for trainer in (plain, seeing):
        for layer in trainer.model.model.layers:
            layer.self_attn.attention_dropout = 0.2
        torch.manual_seed(5)
        random.seed(5)
        trainer.train()
        ends.append((weights(trainer.model), torch.get_rng_state(), random.random()))
    assert_equal_bits(ends[0][0], ends[1][0])
    assert torch.equal(ends[0][1], ends[1][1]) and ends[0][2] == ends[1][2]


@pytest.mark.parametrize("seed", [None, 7])
def test_a_collator_that_draws_gives_the_same_rows_each_time_and_draws_for_training_as_before(seed, tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.mask_token = tokenizer.unk_token
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.3, seed=seed)
    trainer = CompressionTrainer(
        model=BertForMaskedLM(tiny_bert().config),
        args=arguments(tmp_path),
        train_dataset=Dataset.from_list([{"input_ids": ids} for ids in torch.randint(3, 60, (24, 8)).tolist()]),
        data_collator=collator,
        pruning=needy(),
        calibration=FEW,
    )
    modules = Masks(trainer.model, trainer.pruning).modules
    found, generators = [], []
    for start in (0, 1):
        torch.manual_seed(start)
        before = torch.get_rng_state()
        found.append(trainer.progress.pruning._statistics(trainer.model, modules))
        assert torch.equal(torch.get_rng_state(), before)
        generators.append(None if seed is None else collator.generator.get_state() if collator.generator else "not yet")
    for name, stats in found[0].items():
        assert torch.equal(stats["input_norm"], found[1][name]["input_norm"])
    assert seed is None or generators[0] == generators[1]


def test_images_and_convolutions_are_calibrated_on(tmp_path):
    model = tiny_vit(seed=0, num_labels=3)
    job = Pruning(criterion=Needy(), schedule=Constant(final=0.5), targets=["Linear", "Conv2d"])
    trainer = CompressionTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=2),
        train_dataset=image_rows(model),
        pruning=job,
        calibration=FEW,
    )
    trainer.train()
    kernel = trainer.finalize().vit.embeddings.patch_embeddings.projection.weight
    assert int((kernel == 0).sum()) == kernel.numel() // 2


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(text_rows(count=32).to_list())


class Augmented(torch.utils.data.Dataset):
    def __init__(self):
        self.rows, self.generator = text_rows().to_list(), random.Random(0)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def test_what_cannot_be_calibrated_is_refused_in_the_constructor(tmp_path):
    def make(rows=None, **changes):
        rows = text_rows() if rows is None else rows
        CompressionTrainer(model=tiny_llama(), args=arguments(tmp_path), train_dataset=rows, **changes)

    for changes, sentence in (
        ({"calibration": None}, "criterion 'needy' needs input_norm, measured on examples; pass calibration=Calibration"),
        ({"calibration": 128}, "128 .* given where a Calibration is expected; write calibration=Calibration"),
        ({"rows": Stream()}, "calibration: the training data cannot be read.*the data is a stream"),
        ({"rows": Augmented()}, "calibration: .*the data set draws random numbers of its own; give a data set"),
    ):
        with pytest.raises(CompressionError, match=sentence):
            make(**{**jobs(), **changes})


def test_a_layer_that_no_example_reaches_is_refused_before_the_first_step(tmp_path):
    trainer = llama_trainer(tmp_path, jobs())
    trainer.model.model.layers[1].extra = torch.nn.Linear(4, 4)
    before = weights(trainer.model)
    with pytest.raises(CompressionError, match=r"needs input_norm of model\.layers\.1\.extra, and no example"):
        trainer.train()
    assert_equal_bits(before, weights(trainer.model))


def test_a_calibration_that_nothing_needs_and_one_of_more_rows_than_there_are_are_said(tmp_path, caplog):
    llama_trainer(tmp_path, {"pruning": Pruning(), "calibration": FEW})
    assert "calibration is set, and no criterion needs statistics: nothing is collected" in caplog.text
    llama_trainer(tmp_path, jobs(calibration=Calibration()))
    assert "calibration.num_examples=128 and the training data has 32" in caplog.text


def test_another_calibration_is_another_run(tmp_path):
    llama_trainer(tmp_path, jobs(), max_steps=3).train()
    other = llama_trainer(tmp_path, jobs(calibration=Calibration(num_examples=7)), max_steps=6)
    with pytest.raises(CompressionError, match='calibration={"num_examples": 6.*resume with the same settings'):
        other.train(resume_from_checkpoint=True)


def test_the_row_without_training_is_pruned_on_the_same_examples(tmp_path, monkeypatch):
    dense = tiny_llama(seed=0)
    trainer = llama_trainer(tmp_path / "run", jobs(pruning=needy(end="50%")), max_steps=4)
    trainer.train()
    written = {}
    compress = untrained.compress_untrained

    def noted(model, *args):
        compress(model, *args)
        written["untrained"] = weights(model)

    monkeypatch.setattr(untrained, "compress_untrained", noted)
    report = save_result_module.save_result(trainer, tmp_path / "out", baseline=tiny_llama(seed=0))
    assert [row.name for row in report.rows] == ["dense", "compressed without training", "ours"]
    prune(dense, needy(), calibration_batches(text_rows(), trainer.data_collator, FEW))
    assert_equal_bits(written["untrained"], weights(dense))
    assert '"calibration"' in (tmp_path / "out" / "compression.json").read_text()
