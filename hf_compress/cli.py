"""The command line. No hyper-parameters here: they live in the recipe. Nothing heavy is imported before it is needed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._secrets import hide_secrets
from hf_compress._version import __version__
from hf_compress.cli_results import results
from hf_compress.cli_session import check_recipe, complain, interruptible, quiet, say

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
    quiet()
    from hf_compress.recipe.header import pointing_to_header
    from hf_compress.recipe.recipe import Recipe

    with pointing_to_header(recipe):
        with interruptible(Recipe.after_interruption):
            loaded = _distributed.together(lambda: Recipe.load(recipe, overrides or (), sources=True))
        with interruptible(loaded.after_interruption):
            say(loaded.run(resume))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="The output_dir of a finished training.", metavar="RUN_FOLDER")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Change export, evaluation or title; may be repeated."),
    ] = None,
) -> None:
    """Make the result of a finished training (anew): export, measure, report; trains nothing."""
    quiet()
    from hf_compress.jobs.train.export_run import export_run

    with interruptible("the same command starts again"):
        say(export_run(folder, overrides or ()))


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
    quiet()
    from hf_compress.jobs.merge.stages import load_any_merge
    from hf_compress.recipe.header import pointing_to_header

    with pointing_to_header(config):
        job = load_any_merge(config, out, overrides or ())
        if only_check:
            check_recipe(job, config)
            return
        with interruptible("the same command goes on"):
            say(job.run(device=device, threads=threads))


@app.command()
def sensitivity(
    recipe: Annotated[
        Path, typer.Argument(help="A sensitivity recipe, or one that prunes, whose layers are asked.", metavar="RECIPE")
    ],
    overrides: Overrides = None,
    only_check: Annotated[bool, typer.Option("--check", help="Name every mistake at once and write nothing.")] = False,
) -> None:
    """Prune layers one at a time, say what each costs, and find an allocation; the same command goes on."""
    quiet()
    from hf_compress.jobs.sensitivity.recipe import load_sensitivity
    from hf_compress.recipe.header import pointing_to_header

    with pointing_to_header(recipe):
        job = load_sensitivity(recipe, overrides or ())
        if only_check:
            check_recipe(job, recipe)
            return
        with interruptible(job.after_interruption):
            say(job.run())


@app.command()
def check(
    recipe: RecipeFile,
    overrides: Overrides = None,
    world_size: Annotated[
        int | None, typer.Option("--world-size", min=1, help="Also what the training takes in each of so many processes.")
    ] = None,
) -> None:
    """Name every mistake in a recipe at once, without training or writing anything."""
    quiet()
    from hf_compress.recipe.header import pointing_to_header
    from hf_compress.recipe.recipe import Recipe

    with pointing_to_header(recipe):
        loaded = Recipe.load(recipe, overrides or (), sources=True)
        check_recipe(loaded, recipe, world_size)


app.add_typer(results)


def main() -> None:
    """Entry point: bad input ends with one sentence per mistake and exit code 2."""
    try:
        app()
    except CompressionError as error:
        if _distributed.says(error):
            complain(error, hide_secrets)
        sys.exit(error.exit_code)
    except Exception as error:
        if not _distributed.lost_another(error):
            raise
        ended = CompressionError(
            "another process of this run has ended, and no other goes on without it; what it said is above, or in its log"
        )
        if _distributed.says(ended):
            complain(ended)
        sys.exit(1)
