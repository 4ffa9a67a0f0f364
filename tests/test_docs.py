"""What the pages show works, and what they list is complete."""

import dataclasses
import importlib
import json
import re
import runpy
import sys
import types
from pathlib import Path

import pytest
from transformers import Trainer

from hf_compress import CompressionMixin, Recipe
from hf_compress.distillation.loss import DistillationLoss
from hf_compress.inputs.sections import Data
from hf_compress.jobs.merge.recipe import MergeModels
from hf_compress.jobs.merge.stages import load_any_merge
from hf_compress.jobs.train.recipe import Train
from hf_compress.merging.configuration import Merge
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.plan.checks import check_merge
from hf_compress.pruning.allocation import Allocation
from hf_compress.pruning.criterion import Criterion
from hf_compress.pruning.pattern import Pattern
from hf_compress.pruning.schedule import Schedule
from hf_compress.quantization.scheme import Scheme
from hf_compress.recipe.yaml_text import parse_yaml
from hf_compress.tasks.metrics.builtin.hub import Hub
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.task import Task
from hf_compress.training.compatibility import RULES
from hf_compress.training.projected import TrainsProjections
from hf_compress.training.pushing import PushesWhole
from tests.small import pretrained, recipe
from tests.test_architecture import kinds

ROOT = Path(__file__).parents[1]
SEAM = (CompressionMixin, TrainsProjections, PushesWhole)
DOCS = sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "benchmarks")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
STARTED = ROOT / "docs" / "getting-started.md"


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.S | re.M)


def name(page):
    """As a test is called: `pruning`, `merging/README`."""
    return page.relative_to(ROOT).as_posix().removesuffix(".md").removeprefix("docs/")


def having(language):
    return [pytest.param(page, id=name(page)) for page in PAGES if blocks(page, language)]


@pytest.fixture
def registered(monkeypatch):
    """What a page registers is forgotten after the test."""
    for kind in kinds():
        monkeypatch.setattr(kind, "_registry", dict(kind.available()))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("page", [page for page in having("python") if page.values[0] != STARTED])
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, registered):
    monkeypatch.chdir(tmp_path)
    run(page, monkeypatch)


def run(page, monkeypatch):
    """The recipes that a page gives a file's name are in that file; its Python from top to bottom."""
    for block in blocks(page, "yaml"):
        named = re.match(r"# ([\w-]+\.yaml)\n", block)
        if named:
            Path(named[1]).write_text(block, encoding="utf-8")
    module = types.ModuleType("page")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, "page", module)
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), vars(module))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_the_three_ways_to_start_lead_to_the_same_kind_of_result(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(STARTED, monkeypatch)
    (commands,) = blocks(STARTED, "bash")
    for command in commands.splitlines():
        code, _, complaints = call(*command.split()[1:])
        assert (code, complaints) == (0, [])
    folders = [Path("out", name) for name in ("script-result", "recipe/compressed", "command-line/compressed")]
    for folder in folders:
        config = json.loads((folder / "config.json").read_text())
        (group,) = config["quantization_config"]["config_groups"].values()
        assert (group["weights"]["num_bits"], group["weights"]["group_size"]) == (4, 32)
        assert [row["sparsity"] for row in json.loads((folder / "report.json").read_text())["rows"]][1:] == [0.5, 0.5]
    weights = [(folder / "model.safetensors").read_bytes() for folder in folders[1:]]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("page", having("yaml"))
def test_the_recipes_of_a_page_parse(page, tmp_path):
    merge_fields = {field.name for field in dataclasses.fields(Merge)}
    for block in blocks(page, "yaml"):
        if "merge_method:" in block:
            (tmp_path / "mergekit.yml").write_text(block)
            load_any_merge(tmp_path / "mergekit.yml", tmp_path / "out")
            continue
        data = parse_yaml(block, str(page))
        # A part of a recipe stands for itself in an otherwise small one.
        if "job" not in data and merge_fields & set(data):
            members = [{"model": "some/a", "name": "a"}, {"model": "some/b"}]
            data = {"job": "merge", "members": members, "output_dir": "out", **data}
        whole = data if "job" in data else recipe(tmp_path, pretrained("some/model", data))
        parsed = Recipe.from_plain(whole)
        assert parsed.name == whole["job"]
        if isinstance(parsed, MergeModels):
            assert check_merge(parsed) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
    for target, anchor in re.findall(r"\]\(([^)#:]+\.md)#([^)]+)\)", page.read_text(encoding="utf-8")):
        headings = re.findall(r"^#+ (.*)$", (page.parent / target).read_text(encoding="utf-8"), flags=re.M)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor


def paths(named):
    """`training/ export/` and `merging/{method, operands}` name several."""
    several = re.fullmatch(r"([^{]*){(.*)}", named)
    return [several[1] + name for name in re.split(r",\s*", several[2])] if several else named.split()


def test_every_path_that_the_design_names_is_there():
    found = re.findall(r"`([^`\n]+)`", (ROOT / "docs" / "design.md").read_text(encoding="utf-8"))
    wanted = [path for named in found if "/" in named for path in paths(named)]
    places = (ROOT / "hf_compress", ROOT)
    missing = [path for path in wanted if not any((at / path).exists() or (at / f"{path}.py").exists() for at in places)]
    assert len(wanted) > 40 and missing == []


def test_the_table_of_the_seam_is_what_is_overridden():
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    text = text[text.index("## The Trainer seam") : text.index("Each calls super()")]
    rows = re.findall(r"^\| (`[^|]*) \|", text, flags=re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    ours = {name for cls in SEAM for name in vars(cls) if not name.startswith("__")}
    assert named == {name for name in ours if hasattr(Trainer, name)}


def test_every_folder_has_its_floor_in_the_design():
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    table = text[text.index("## Floors") : text.index("Inside merging")]
    folders = {file.parent.name for file in (ROOT / "hf_compress").glob("*/__init__.py")}
    assert {folder for folder in folders if f"{folder}/" not in table} == set()


def test_every_page_that_the_source_names_is_there():
    for file in [*(ROOT / "hf_compress").rglob("*.py"), *(ROOT / "scripts").rglob("*.py"), *ROOT.glob("recipes/*.yaml")]:
        text = file.read_text(encoding="utf-8")
        # A benchmark's usage names the table that it will write.
        for page in re.findall(r"docs/(?!benchmarks/)[\w/-]+\.md", text):
            assert (ROOT / page).exists(), f"{file.name}: {page}"


def test_the_table_of_kinds_is_what_the_source_says():
    text = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
    written = runpy.run_path(str(ROOT / "scripts" / "kinds_table.py"))["written"]
    assert written(text) == text, "run `make style`: it writes the table of docs/adding-a-method.md anew"
    assert {kind.kind for kind in kinds()} == set(re.findall(r"^\| ([^|`]+?) \| .* `hf_compress/", text, flags=re.M))


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.kind)
def test_the_package_of_every_kind_says_which_page_tells_how_to_add_one(kind):
    (page,) = re.findall(r"docs/adding-[\w-]+\.md", importlib.import_module(kind._package).__doc__)
    assert kind._package.replace(".", "/") in (ROOT / page).read_text(encoding="utf-8")


def test_every_figure_that_helps_to_choose_stands_in_a_file_that_its_row_links():
    page = ROOT / "docs" / "choosing.md"
    figures = 0
    for row in re.findall(r"^\|.*\|$", page.read_text(encoding="utf-8"), flags=re.M):
        linked = [page.parent / target for target in re.findall(r"\]\(((?:\.\./|benchmarks/)[^)#]+)\)", row)]
        text = "\n".join(file.read_text(encoding="utf-8") for file in linked)
        for figure in re.findall(r"\d+\.\d+", re.sub(r"\([^)]*\)|`[^`]*`", "", row)) if linked else []:
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", text), f"{figure} in {row[:60]}"
            figures += 1
    assert figures > 30


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "README.md"
    named = re.findall(r"^- \[[^]]+\]\(([^)#]+)\): ", index.read_text(encoding="utf-8"), flags=re.M)
    assert sorted((index.parent / target).resolve() for target in named) == sorted(page for page in DOCS if page != index)


def test_the_table_of_what_does_not_go_together_is_complete():
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+?) \|", text[text.index("## What does not go together") :], flags=re.M)
    assert sorted(rows) == sorted(["what", *(rule.name for rule in RULES)])


def test_every_key_of_a_recipe_is_in_the_table():
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    keys = set(re.findall(r"`([\w.]+)`", " ".join(re.findall(r"^\| (`[^|]+) \|", text, flags=re.M))))
    missing = {"job", *(field.name for field in dataclasses.fields(Train))} - {key.split(".")[0] for key in keys}
    missing |= {f"data.{field.name}" for field in dataclasses.fields(Data)} - keys
    assert not missing


@pytest.mark.parametrize("task", Task.available().values(), ids=lambda task: task.name)
def test_every_task_is_in_its_table_with_its_keys(task):
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{task.name}` \|.*$", text, flags=re.M)
    for field in dataclasses.fields(task):
        written = {True: "true", False: "false", None: "null", "": '""', (): "[]"}.get(field.default, field.default)
        assert f"`{field.name}: {written}`" in row


@pytest.mark.parametrize(
    "kind", [Criterion, Pattern, Schedule, Allocation, Scheme, DistillationLoss], ids=lambda kind: kind.kind
)
def test_every_built_in_method_is_on_its_page(kind):
    for method in kind.available().values():
        technique = method.__module__.split(".")[1]
        if method.__module__.startswith("hf_compress."):
            assert f"`{method.name}`" in (ROOT / "docs" / f"{technique}.md").read_text(encoding="utf-8"), method.name


def test_every_metric_is_in_its_table_with_what_it_takes_and_its_options():
    rows = re.findall(r"^\| `.*\|$", (ROOT / "docs" / "adding-a-metric.md").read_text(encoding="utf-8"), flags=re.M)
    for metric in Metric.available().values():
        row = next(row for row in rows if f"`{metric.name}`" in row.split("|")[1])
        assert all(f"`{field.name}`" in row for field in dataclasses.fields(metric))
        assert set(re.findall(r"\w+", row.split("|")[2])) == set(metric.takes if metric is not Hub else ("all",))


def test_every_merge_method_is_on_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "merging").glob("methods*.md")))
    for method in MergeMethod.available():
        assert f"| `{method}` |" in text, method
