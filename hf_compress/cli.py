"""The command line. No hyper-parameters here: they live in the recipe. Nothing heavy is imported before it is needed."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from hf_compress import __version__, _distributed
from hf_compress._errors import CompressionError

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
    from hf_compress.evaluation.report import table
    from hf_compress.recipe.recipes import Recipe

    try:
        result = Recipe.load(recipe, overrides or (), sources=True).run(resume)
    except KeyboardInterrupt:
        typer.echo("\nhf-compress: interrupted; the same command with --resume goes on", err=True)
        raise typer.Exit(130) from None
    if result.report is not None:
        typer.echo(f"\n{table(result.report)}\n")
        typer.echo(f"model and card  {result.folder}")
        typer.echo(f"report          {result.folder / 'report.md'}, {result.folder / 'report.png'}")


@app.command()
def check(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Name every mistake in a recipe at once, without training or writing anything."""
    _quiet()
    from hf_compress.recipe.problems import RecipeError
    from hf_compress.recipe.recipes import Recipe

    loaded = Recipe.load(recipe, overrides or (), sources=True)
    problems = loaded.preflight()
    if problems:
        raise RecipeError(problems)
    typer.echo(f"{recipe}: no mistakes found (job {loaded.name}, {loaded.fingerprint()})")


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
            for line in str(error).splitlines():
                print(f"hf-compress: {line}", file=sys.stderr)
        sys.exit(2)
