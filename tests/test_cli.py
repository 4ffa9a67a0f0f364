"""The command line: exit codes, one sentence per mistake, nothing written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hf_compress.cli import main
from tests.alone import alone
from tests.command_line import UP

ROOT = Path(__file__).parents[1]
RECIPE = """\
job: train
model:
  config: {{model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4,
            num_key_value_heads: 2, max_position_embeddings: 64}}
tokenizer: {{vocab_size: 400}}
task: {{name: causal_lm, length: 32}}
data: {{path: {folder}/train.jsonl}}
dense: {{training: {{max_steps: 10}}}}
pruning: {{schedule: {{name: cubic, final: 0.5, end: 50%, every: 1}}}}
quantization: {{scheme: {{name: W4A16, group_size: 32}}, begin: 50%}}
distillation: {{losses: [{{weight: 0.5, loss: forward_kl}}]}}
training: {{output_dir: {folder}/out, max_steps: 8, per_device_train_batch_size: 4, save_steps: 4, use_cpu: true}}
"""


@pytest.fixture
def recipe(tmp_path):
    lines = [{"text": f"sentence {n} says that {n} times {n} is {n * n} and nothing else"} for n in range(300)]
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.format(folder=tmp_path))
    return file


def call(monkeypatch, capsys, *arguments):
    """Exit code, standard output, and the lines of complaint."""
    monkeypatch.setattr(sys, "argv", ["hf-compress", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, [line for line in err.splitlines() if line.startswith("hf-compress: ")]


MISTAKES = {
    "unknown key": ("bogus=1", "bogus: unknown key 'bogus'"),
    "unknown strategy": ("pruning.criterion=magnitud", "did you mean 'magnitude'"),
    "wrong type": ("task.length=long", "task.length: 'long' (text) given, a whole number expected"),
    "no layer": ("pruning.targets=[Conv2d]", "'Conv2d' matches no module"),
    "sparsity 1": ("pruning.schedule.final=1.0", "is not a sparsity"),
    "negative sparsity": ("pruning.schedule.final=-0.1", "is not a sparsity"),
    "bare float point": ("pruning.schedule.begin=0.5", "is not a point in training"),
    "late schedule": ("pruning.schedule.end=9", "ends at step 9, but training has 8 steps"),
    "late quantization": ("quantization.begin=8", "begins at step 8, but training has 8 steps"),
    "missing data": ("data.path=nowhere.jsonl", "there is no file or folder nowhere.jsonl"),
    "missing column": ("task.text=words", "unknown column"),
    "group size": ("quantization.scheme.group_size=64", "does not divide the 32 inputs"),
    "model type": ("model.config.model_type=lama", "lama"),
    "config key": ("model.config.hiden_size=3", "did you mean 'hidden_size'"),
    "heads": ("model.config.hidden_size=33", "hidden size (33) is not a multiple"),
    "long blocks": ("task.length=65", "more than the model's 64 positions"),
    "teacher": ("distillation.teacher={name: model, model: ./nowhere}", "nowhere"),
    "training key": ("training.max_step=3", "did you mean 'max_steps'"),
    "no dense": ("dense=null", "fresh weights must be trained"),
    "override": ("nonsense", "is not an assignment"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_bad_input_is_one_sentence_with_exit_code_2_and_nothing_written(mistake, recipe, monkeypatch, capsys):
    override, expected = MISTAKES[mistake]
    code, _, complaints = call(monkeypatch, capsys, "run", recipe, "--set", override)
    assert code == 2
    assert len(complaints) == 1, complaints
    assert expected in complaints[0]
    assert not (recipe.parent / "out").exists()


def test_an_empty_data_file_is_refused(recipe, monkeypatch, capsys):
    (recipe.parent / "train.jsonl").write_text("")
    code, _, complaints = call(monkeypatch, capsys, "run", recipe)
    assert code == 2 and "is empty" in complaints[0]
    assert not (recipe.parent / "out").exists()


def test_a_schedule_that_only_the_data_shows_to_be_too_long_is_refused(recipe, monkeypatch, capsys):
    changes = [
        "--set",
        "training.max_steps=-1",
        "--set",
        "training.num_train_epochs=1",
        "--set",
        "pruning.schedule.end=9999",
    ]
    code, _, complaints = call(monkeypatch, capsys, "run", recipe, *changes)
    assert code == 2 and "ends at step 9999" in complaints[0]
    assert not (recipe.parent / "out").exists()


def test_check_names_all_mistakes_at_once_with_their_paths(recipe, monkeypatch, capsys):
    changes = [
        "task=causal_lmm",
        "data.max_train=long",
        "pruning.schedule.final=1.5",
        "quantization.scheme=W4A17",
        "bogus=1",
    ]
    arguments = [part for change in changes for part in ("--set", change)]
    code, _, complaints = call(monkeypatch, capsys, "check", recipe, *arguments)
    assert code == 2
    paths = [line.split(": ")[1] for line in complaints]
    assert {"task", "data.max_train", "pruning.schedule", "quantization.scheme", "bogus"} <= set(paths)


def test_a_folder_of_another_run_or_of_something_else_is_left_alone(recipe, monkeypatch, capsys):
    out = recipe.parent / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    code, _, complaints = call(monkeypatch, capsys, "run", recipe)
    assert code == 2 and "files of something else" in complaints[0]
    (out / "thesis.txt").rename(out / "recipe.yaml")
    (out / "recipe.yaml").write_text("job: train\ntask: causal_lm\n")
    code, _, complaints = call(monkeypatch, capsys, "run", recipe, "--resume")
    assert code == 2 and "holds a different run" in complaints[0]
    assert [file.name for file in out.iterdir()] == ["recipe.yaml"]


def test_main_job_leaves_a_checkpoint_that_plain_transformers_loads_and_resumes_to_the_same_bits(
    recipe, monkeypatch, capsys
):
    import shutil

    monkeypatch.setattr(sys, "argv", ["hf-compress", "run", str(recipe)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    printed = capsys.readouterr().out
    folder = recipe.parent / "out" / "compressed"
    report = json.loads((folder / "report.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["dense", "compressed without training", "ours"]
    assert report["rows"][-1]["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert "| ours" in printed and str(folder) in printed
    for name in ("report.md", "report.png", "compression.json", "README.md", "tokenizer.json"):
        assert (folder / name).stat().st_size > 0
    script = (
        "import sys; sys.modules['hf_compress'] = None\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"m = AutoModelForCausalLM.from_pretrained({str(folder)!r}); t = AutoTokenizer.from_pretrained({str(folder)!r})\n"
        "o = m.generate(**t('sentence', return_tensors='pt'), max_new_tokens=5, do_sample=False); assert o.shape[1] > 1\n"
    )
    alone(recipe.parent, script)

    before = (folder / "model.safetensors").read_bytes()
    code, _, complaints = call(monkeypatch, capsys, "run", recipe)
    assert code == 2 and "--resume" in complaints[0]
    shutil.rmtree(folder)
    shutil.rmtree(recipe.parent / "out" / "checkpoint-8")
    code, _, complaints = call(monkeypatch, capsys, "run", recipe, "--resume")
    assert code == 0, complaints
    assert (folder / "model.safetensors").read_bytes() == before


def test_help_loads_no_heavy_library():
    script = (
        "import sys; sys.argv = ['hf-compress', '--help']\nfrom hf_compress.cli import main\n"
        "try: main()\nexcept SystemExit: pass\nprint({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip().endswith("set()"), done.stdout


@pytest.mark.parametrize("file", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_recipe_parses_and_survives_the_round_trip(file):
    from hf_compress import Recipe
    from hf_compress.recipe.yaml_text import parse_yaml

    assert file.read_text().startswith("#"), "a recipe says at its top what it claims"
    loaded = Recipe.load(file)
    assert Recipe.from_plain(parse_yaml(loaded.to_yaml(), "canonical")) == loaded
    assert Recipe.from_plain(loaded.to_plain(full=True)) == loaded


def test_a_complaint_does_not_stand_behind_a_progress_bar(capsys):
    from hf_compress._errors import CompressionError
    from hf_compress._progress import progress
    from hf_compress.cli_session import complain

    try:
        for number in progress(range(9), "interrupted", mininterval=0):
            if number == 3:
                raise CompressionError("one sentence")
    except CompressionError as error:
        complain(error)
    lines = capsys.readouterr().err.replace(UP, "\n").splitlines()
    assert "hf-compress: one sentence" in lines and any("interrupted:  33%" in line for line in lines)
