"""Each member from a recipe of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress.jobs.train_ensemble.diversity import Diversity, Plain, check_number
from hf_compress.recipe.yaml_text import read_recipe

_ROWS = ("path", "name", "splits", "validation_share", "max_eval")


@dataclass(frozen=True, kw_only=True)
class MemberRecipes(Diversity, name="recipes"):
    """Members that differ in anything: model, training, compression; what a member's recipe does not say is as in `train`.

    Attributes:
        recipes_of: for each member what differs from `train`, as a mapping, or the file of a recipe. A section is filled in
            key by key; one whose `name` is another is taken as it is.
    """

    open_alike: ClassVar[bool] = False

    recipes_of: tuple[str | dict[str, Any], ...]

    def __post_init__(self) -> None:
        check_number(len(self.recipes_of), "recipes_of: its length, {},")

    def recipes(self, base: Plain, seed: int, planned_steps: Callable[[], int]) -> dict[str, Plain]:
        """The base recipe with what each says."""
        made = {}
        for number, own in enumerate(self.recipes_of):
            plain = read_recipe(own) if isinstance(own, str) else dict(own)
            plain.pop("job", None)
            if isinstance(plain.get("training"), dict):
                plain["training"] = {key: value for key, value in plain["training"].items() if key != "output_dir"}
            made[f"recipe-{number}"] = _over(base, plain)
        for name, plain in made.items():
            twin = next(other for other, known in made.items() if known == plain)
            if twin != name:
                raise CompressionError(
                    f"recipes_of: {name} says the same as {twin}, so both would be one model; write what differs, such as"
                    " training: {seed: 1}"
                )
        first = made["recipe-0"].get("data")
        for name, plain in made.items():
            if _rows(plain.get("data")) != _rows(first):
                raise CompressionError(
                    f"recipes_of: {name} takes other data than recipe-0, so that it may have seen rows that the ensemble is"
                    " measured on; members share data, but for max_train"
                )
        return made


def _rows(data: Any) -> Any:
    return {key: data.get(key) for key in _ROWS} if isinstance(data, dict) else data


def _over(base: Any, own: Any) -> Any:
    """`own` in place of `base`, key by key where both are mappings of one thing."""
    if not isinstance(base, dict) or not isinstance(own, dict) or own.get("name", base.get("name")) != base.get("name"):
        return own
    return {**base, **{key: _over(base.get(key), value) for key, value in own.items()}}
