"""The command line. No hyper-parameters here: they live in the recipe. Nothing heavy is imported before it is needed."""

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from hf_compress import _distributed
from hf_compress._disk import DiskError
from hf_compress._errors import CompressionError, Terminated
from hf_compress._secrets import hide_secrets
from hf_compress._version import __version__

app = typer.Typer(
    name="hf-compress",
    help="Train, prune, quantize and distil Hugging Face models from recipes.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # drawing boxes costs more than everything else --help does
    pretty_exceptions_enable=False,
)

RecipeFile = Annotated[Path, typer.Argument(help="A recipe in YAML; see recipes/ and docs/recipes.md.", metavar="RECIPE")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Change one value of the recipe; may be repeated.")
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hf-compress {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train, prune, quantize and distil Hugging Face models from recipes."""


@app.command()
def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run; starts one if there is none.")
    ] = False,
) -> None:
    """Do what a recipe says; the last lines are the table and where the files are."""
    _quiet()
    from hf_compress.recipe.header import pointing_to_header
    from hf_compress.recipe.recipe import Recipe

    with _interruptible("the same command with --resume goes on"), pointing_to_header(recipe):
        _say(Recipe.load(recipe, overrides or (), sources=True).run(resume))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="The output_dir of a finished training.", metavar="RUN_FOLDER")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Change export, evaluation or title; may be repeated."),
    ] = None,
) -> None:
    """Make the result of a finished training (anew): export, measure, report; trains nothing."""
    _quiet()
    from hf_compress.jobs.train.export_run import export_run

    with _interruptible("the same command starts again"):
        _say(export_run(folder, overrides or ()))


@app.command()
def merge(
    config: Annotated[Path, typer.Argument(help="A merge recipe, or a mergekit YAML as it stands.", metavar="CONFIG")],
    out: Annotated[Path, typer.Argument(help="The new folder.", metavar="OUT")],
    overrides: Overrides = None,
    device: Annotated[str | None, typer.Option("--device", help="Where to compute: cpu or cuda.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Tensors at once; all cores by default.")] = None,
    only_check: Annotated[bool, typer.Option("--check", help="Name every mistake at once and write nothing.")] = False,
) -> None:
    """Merge models into one; started again, an interrupted merge goes on."""
    _quiet()
    from hf_compress.jobs.merge.stages import load_any_merge
    from hf_compress.recipe.header import pointing_to_header

    with pointing_to_header(config):
        job = load_any_merge(config, out, overrides or ())
        if only_check:
            _check(job, config)
            return
        with _interruptible("the same command goes on"):
            _say(job.run(device=device, threads=threads))


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A folder of a finished model, or a Hub id.", metavar="MODEL")],
    task: Annotated[str, typer.Option("--task", help="What the model is for; see docs/tasks.md.")],
    data: Annotated[str, typer.Option("--data", help="A file, a folder or a Hub data set.")],
    against: Annotated[
        str | None, typer.Option("--against", help="A baseline to compare with, row by row: a folder or a Hub id.")
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", help="The new folder; by default MODEL's name and -evaluation.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="A.B=VALUE", help="Any other key of a job `evaluate`, such as task.text; repeatable."
        ),
    ] = None,
    only_check: Annotated[bool, typer.Option("--check", help="Name every mistake at once and write nothing.")] = False,
) -> None:
    """Measure a finished model by its task, alone or against a baseline: a table, report.json and report.md."""
    _quiet()
    from hf_compress.recipe.recipe import Recipe
    from hf_compress.recipe.yaml_text import apply_overrides

    out = f"{Path(model).name}-evaluation" if out is None else out
    asked = {"job": "evaluate", "model": model, "task": task, "data": {"path": data}, "output_dir": out}
    asked |= {} if against is None else {"against": against}
    apply_overrides(asked, overrides or ())
    job = Recipe.from_plain(asked, sources=True)
    if only_check:
        _check(job, Path(model))
        return
    with _interruptible("the same command starts again"):
        _say(job.run())


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A finished model or adapter.", metavar="DIR")],
    repo_id: Annotated[str, typer.Argument(help="owner/name on the Hub; made where it is missing.", metavar="REPO")],
    private: Annotated[bool | None, typer.Option("--private/--public", help="Who sees a repository that is made.")] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="The branch; main by default.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request.")] = False,
    tag: Annotated[str | None, typer.Option("--tag", help="Tag the commit.")] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", help="Title or slug of a collection to add it to.")
    ] = None,
) -> None:
    """Publish a folder on the Hub in one commit; the same command goes on with a push that failed."""
    _quiet()
    from hf_compress.export.push import push

    with _interruptible("the same command goes on"):
        _say(
            push(
                folder,
                repo_id,
                private=private,
                revision=revision,
                create_pr=create_pr,
                tag=tag,
                collection=collection,
            )
        )


@app.command()
def check(
    recipe: RecipeFile,
    overrides: Overrides = None,
    world_size: Annotated[
        int | None, typer.Option("--world-size", min=1, help="Also what the training takes in each of so many processes.")
    ] = None,
) -> None:
    """Name every mistake in a recipe at once, without training or writing anything."""
    _quiet()
    from hf_compress.recipe.header import pointing_to_header
    from hf_compress.recipe.recipe import Recipe

    with pointing_to_header(recipe):
        loaded = Recipe.load(recipe, overrides or (), sources=True)
        _check(loaded, recipe, world_size)


@app.command()
def cost(
    model: Annotated[str, typer.Argument(help="A folder or Hub id of a finished model.", metavar="MODEL")],
    against: Annotated[str | None, typer.Option("--against", help="A baseline; the two take turns.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="What it is for; by default what its class is.")] = None,
    batch: Annotated[list[int] | None, typer.Option("--batch", help="Rows; may be repeated.")] = None,
    length: Annotated[list[int] | None, typer.Option("--length", help="Of the inputs; may be repeated.")] = None,
    runtime: Annotated[
        list[str] | None, typer.Option("--runtime", help="eager, compile, onnxruntime, openvino; may be repeated.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="Where to compute: cpu or cuda.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write all numbers to this new file.")] = None,
) -> None:
    """Measure what a model costs: bytes, parameters, MACs, memory, latency and throughput."""
    _quiet()
    from hf_compress.evaluation.cost.command import run_cost

    given = {"batch": batch, "length": length, "runtimes": runtime, "device": device}
    with _interruptible("the same command starts again"):
        typer.echo(run_cost(model, against, task, {key: value for key, value in given.items() if value}, json_file))


@app.command(name="check-serving")
def check_serving(
    model: Annotated[str, typer.Argument(help="A folder or Hub id of a finished model.", metavar="MODEL")],
) -> None:
    """Say whether vLLM will take a model, from its config and headers: without vLLM, without a GPU."""
    _quiet()
    from hf_compress.export.serving.check import check_serving as check

    found = check(model)
    found.refuse()
    typer.echo(found.summary())


def _check(recipe: Any, file: Path, processes: int | None = None) -> None:
    from hf_compress._problems import RecipeError

    scaling = None if processes is None else recipe.scaling(processes)
    problems = [] if scaling else recipe.preflight()
    if problems:
        raise RecipeError(problems)
    typer.echo(f"{file}: no mistakes found (job {recipe.name}, {recipe.fingerprint()})")
    if scaling:
        typer.echo(scaling)


@contextlib.contextmanager
def _interruptible(way_out: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end with one line and the usual exit codes, 128 + the number of the signal."""

    def terminate(number: int, frame: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt as error:
        told = isinstance(error, Terminated)
        if _distributed.is_main():
            typer.echo(f"\nhf-compress: {'told to end' if told else 'interrupted'}; {way_out}", err=True)
        raise typer.Exit(128 + (signal.SIGTERM if told else signal.SIGINT)) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(result: Any) -> None:
    """A job's last lines; they are the main process's to say."""
    summary = result.summary()
    if summary:
        typer.echo(summary)


def _quiet() -> None:
    """Logs on rank zero only; third parties speak up from warnings on."""
    level = logging.INFO if _distributed.is_main() else logging.ERROR
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("hf_compress").setLevel(level)
    if not _distributed.is_main():
        logging.disable(logging.WARNING)


def main() -> None:
    """Entry point: bad input ends with one sentence per mistake and exit code 2."""
    try:
        app()
    except CompressionError as error:
        if _distributed.is_main():
            if isinstance(error, DiskError):
                print(file=sys.stderr)  # a progress bar may stand there
            for line in str(error).splitlines():
                print(f"hf-compress: {hide_secrets(line)}", file=sys.stderr)
        sys.exit(error.exit_code)
