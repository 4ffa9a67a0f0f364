"""Which metrics a task takes, and which it always has."""

from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.builtin.sequence_classification import SequenceClassification
from hf_compress.tasks.metrics.builtin.accuracy import Accuracy
from hf_compress.tasks.metrics.builtin.bleu import Bleu
from hf_compress.tasks.metrics.builtin.exact_match import ExactMatch
from hf_compress.tasks.metrics.builtin.f1 import F1
from hf_compress.tasks.metrics.builtin.matthews_correlation import MatthewsCorrelation
from hf_compress.tasks.metrics.builtin.squad import Squad
from hf_compress.tasks.task import Task


def problems(task, *metrics, labels=()):
    return {problem.path: problem.message for problem in task.check_metrics(metrics, labels)}


def test_metrics_that_were_asked_for_come_behind_its_own_and_replace_those_of_their_name():
    task = SequenceClassification()
    assert [metric.name for metric in task.all_metrics([])] == ["accuracy", "macro_f1"]
    named = task.all_metrics([MatthewsCorrelation(), Accuracy()])
    assert [metric.name for metric in named] == ["accuracy", "macro_f1", "matthews_correlation"]
    assert problems(task, Accuracy(), ExactMatch(), F1(average="macro")) == {}


def test_every_metric_that_does_not_fit_is_refused_at_its_place():
    found = problems(SequenceClassification(), Bleu(), Accuracy(), F1(), labels=["a", "b", "c"])
    assert list(found) == ["0", "2"]
    assert found["0"].startswith(
        "bleu compares texts, and this task predicts classes; name one of accuracy, exact_match, f1"
    )
    assert "there are 3 labels; name macro_f1" in found["2"]


def test_a_metric_that_gives_a_number_of_the_tasks_own_is_refused():
    class AnyTask(Task):
        predicts, name = "texts", "any_task"

        def default_metrics(self):
            return (Squad(),)

    message = "exact_match gives 'exact_match', and so does squad, which any_task always has"
    assert problems(AnyTask(), ExactMatch()) == {"0": message}


def test_a_task_that_is_measured_by_its_likelihood_takes_no_metric():
    assert problems(CausalLM()) == {}
    message = "causal_lm is measured by its likelihood (perplexity) and has no predictions; leave metrics out"
    assert problems(CausalLM(), Accuracy()) == {"": message}


def test_the_best_model_is_found_by_what_an_evaluation_gives():
    task = SequenceClassification()
    for name in ("accuracy", "eval_macro_f1", "loss"):
        assert task.refused_training({"metric_for_best_model": name}) == {}
    refused = task.refused_training({"metric_for_best_model": "f1"})["metric_for_best_model"]
    assert refused.startswith("unknown metric of sequence_classification 'f1'")
    assert task.refused_training({"metric_for_best_model": "eval_f1"}, [F1()]) == {}
