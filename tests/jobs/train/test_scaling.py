"""What `check --world-size` says of a recipe."""

import pytest

from hf_compress import ModelTeacher
from hf_compress.tasks.task import Task
from tests.small import recipe, text_rows, write_jsonl, write_model
from tests.tiny import tiny_llama


def written(tmp_path, call, changes=None, processes=4):
    from hf_compress._yaml import write_yaml

    write_jsonl(tmp_path / "train.jsonl", text_rows())
    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe(tmp_path, changes or {})))
    return call("check", tmp_path / "recipe.yaml", "--world-size", str(processes))


def test_the_table_stands_below_the_verdict(tmp_path, call):
    code, said, complaints = written(tmp_path, call)
    lines = said.splitlines()
    assert code == 0 and not complaints and "no mistakes found" in lines[0]
    assert lines[1] == "In each of 4 processes, 16 rows in an optimizer step in all:"
    weights = next(line.split() for line in lines if line.startswith("weights"))
    teacher = next(line.split() for line in lines if line.startswith("teacher"))
    assert weights[1:3] == teacher[1:3]  # the teacher is a copy of the student
    assert "Activations and logits are not counted" in lines[-2] and "counted whole" in lines[-1]
    assert not (tmp_path / "out").exists()


def test_a_teacher_that_is_sharded_with_the_student_is_counted_so(tmp_path, call):
    changes = {"distillation.teacher": {"name": "model", "shard": "like_student"}}
    _, said, _ = written(tmp_path, call, changes)
    line = next(line for line in said.splitlines() if line.startswith("teacher"))
    whole, slice_ = (float(line.split()[place]) for place in (1, 5))
    assert slice_ == pytest.approx(whole / 4, rel=0.01) and "counted whole" not in said


def test_mistakes_come_instead_of_a_table(tmp_path, call):
    code, said, complaints = written(tmp_path, call, {"task.text": "nowhere"})
    assert code == 2 and not said and complaints[0].startswith("task.text: unknown column")


def test_an_optimizer_that_is_not_known_is_said(tmp_path, call):
    _, said, _ = written(tmp_path, call, {"training.optim": "adafactor"})
    assert said.splitlines()[-1] == "Not counted: optimizer, because how much it keeps is not known."


def test_the_teachers_bytes_are_those_of_its_type(tmp_path):
    model = tiny_llama()
    write_model(tmp_path / "teacher", model)
    size = sum(parameter.numel() for parameter in model.parameters())
    for dtype, each in (("auto", 4), ("bfloat16", 2)):
        teacher = ModelTeacher(model=str(tmp_path / "teacher"), dtype=dtype)
        assert teacher.num_bytes(model, Task.create("causal_lm")) == each * size
    assert ModelTeacher().num_bytes(model, Task.create("causal_lm")) == 4 * size


def test_more_processes_than_rows_are_refused(tmp_path, call):
    code, _, complaints = written(tmp_path, call, processes=1000)
    assert code == 2 and len(complaints) == 1
    assert complaints[0].startswith("--world-size: 1000 processes take 4000 rows at once, and the train split has ")


def test_a_job_of_one_process_is_refused(tmp_path, call):
    from hf_compress._yaml import write_yaml

    for name in ("a", "b"):
        write_model(tmp_path / name)
    merge = {"job": "merge", "method": "linear", "members": [{"model": str(tmp_path / name)} for name in "ab"]}
    (tmp_path / "merge.yaml").write_text(write_yaml({**merge, "output_dir": str(tmp_path / "out")}))
    code, _, complaints = call("check", tmp_path / "merge.yaml", "--world-size", "2")
    assert code == 2 and complaints == ["--world-size: a job 'merge' runs in one process; leave it out"]
