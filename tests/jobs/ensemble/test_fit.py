"""What is said of what was learned."""

from types import SimpleNamespace

import torch

from hf_compress import MeanProbabilities
from hf_compress.ensembling.configuration import EnsembleFit
from hf_compress.ensembling.fusions.parallel import ParallelFusion
from hf_compress.evaluation.asked import Asked
from hf_compress.jobs.ensemble.fit import fit_members


def test_a_temperature_at_its_limit_is_noted_with_what_it_means():
    labels = torch.arange(40) % 3
    right = torch.nn.functional.one_hot(labels, 3).float()
    names = ("right", "wrong", "between")
    job = SimpleNamespace(
        members=[SimpleNamespace(weight=1.0)] * 3,
        fit=EnsembleFit(temperatures=True),
        fusion=ParallelFusion(),
        task=SimpleNamespace(logit_rows="single_label"),
        combiner=MeanProbabilities(),
        seed=0,
    )
    said = [right, -right, torch.where(torch.arange(40)[:, None] < 30, right, -right)]
    asked = [Asked(metrics={}, logits=logits, labels=labels) for logits in said]
    found = fit_members(job, asked, [SimpleNamespace(name=name, order=None) for name in names], None)
    assert found.temperatures[:2] == (0.01, 100.0) and 0.01 < found.temperatures[2] < 100
    assert [note for note in found.notes if "limit" in note] == [
        "The temperature of right is 0.01, which is the limit: it is right on all rows there.",
        "The temperature of wrong is 100, which is the limit: its logits say nothing of the labels there.",
    ]
