"""The commands about finished models: measured, compared, looked at and published. Joined to those of `cli.py`."""

from pathlib import Path
from typing import Annotated

import typer

from hf_compress import _distributed
from hf_compress.cli_session import check_recipe, interruptible, quiet, say

results = typer.Typer()


@results.command()
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
    """Measure a finished model by its task, alone or against a baseline: a table, and report.json, .md, .png and .html."""
    quiet()
    from hf_compress.recipe.recipe import Recipe
    from hf_compress.recipe.yaml_text import apply_overrides

    name = Path(model).name
    name = Path(model).resolve().name if name in ("", "..") else name  # of "." and ".."
    out = f"{name}-evaluation" if out is None else out
    asked = {"job": "evaluate", "model": model, "task": task, "data": {"path": data}, "output_dir": out}
    asked |= {} if against is None else {"against": against}
    apply_overrides(asked, overrides or ())
    job = Recipe.from_plain(asked, sources=True)
    if only_check:
        check_recipe(job, Path(model))
        return
    with interruptible("the same command starts again"):
        say(job.run())


@results.command()
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
    quiet()
    from hf_compress.export.push import push

    with interruptible("the same command goes on"):
        say(
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


@results.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs, or of their results.", metavar="RUN...")],
    out: Annotated[Path | None, typer.Option("--out", help="Also write compare.md and compare.html, a new folder.")] = None,
) -> None:
    """Put runs side by side and mark those that no other beats in quality, size and latency."""
    quiet()
    from hf_compress.evaluation.compare import compare_runs

    comparison = compare_runs(runs)
    if out is not None:
        comparison.write(out)
    typer.echo(comparison.to_markdown() + (f"\n{out}" if out is not None else ""), nl=out is not None)


@results.command()
def verify(
    folder: Annotated[str, typer.Argument(help="A published folder, or a repository of the Hub.", metavar="FOLDER")],
    data: Annotated[str | None, typer.Option("--data", help="The rows, if not where the card says.")] = None,
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Also run the model on the rows.")] = True,
) -> None:
    """Say which numbers of a card hold, measured again; exit code 1 where one does not."""
    quiet()
    _distributed.refuse_several("verify")
    from hf_compress.jobs.verify.run import verify

    with interruptible("the same command starts again"):
        found = verify(folder, data, measure)
        say(found)
    if not found.holds:
        raise typer.Exit(1)


@results.command()
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
    quiet()
    from hf_compress.evaluation.cost.command import run_cost

    given = {"batch": batch, "length": length, "runtimes": runtime, "device": device}
    with interruptible("the same command starts again"):
        typer.echo(run_cost(model, against, task, {key: value for key, value in given.items() if value}, json_file))


@results.command(name="check-serving")
def check_serving(
    model: Annotated[str, typer.Argument(help="A folder or Hub id of a finished model.", metavar="MODEL")],
) -> None:
    """Say whether vLLM will take a model, from its config and headers: without vLLM, without a GPU."""
    quiet()
    from hf_compress.export.serving.check import check_serving as check

    found = check(model)
    found.refuse()
    typer.echo(found.summary())
