"""What becomes of every tensor of every input: merged, copied or left out by rule. Anything else stops the job."""

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence

import torch

from hf_compress._patterns import matcher
from hf_compress._problems import refuse_first
from hf_compress.checkpoints.source import Source, TensorInfo
from hf_compress.merging.advice import way_out
from hf_compress.merging.compat import differences
from hf_compress.merging.configuration import BASE, Merge
from hf_compress.merging.plan.account import Account, Location, TensorTask


def make_plan(
    merge: Merge,
    sources: Mapping[str, Source],
    mapping: Mapping[str, Sequence[Location]] | None = None,
    tied: Mapping[str, str] | None = None,
    copied: Sequence[str] = (),
    lent: Mapping[str, Collection[str]] | None = None,
    ignored: Mapping[str, str] | None = None,
) -> Account:
    """Account for every tensor of every source.

    A tensor that some inputs rightly lack (`lent`: a head beside an encoder alone) is merged from those that have it:

    - one alone: copied;
    - the method without a base, or with the base's tensor: the method, over fewer members;
    - a method that merges differences to the base, which lacks it: the members' mean by their weights, as each trained it
      from its own start and no difference has a meaning.

    Args:
        merge: the job.
        sources: by label; "base" is the base model's, the others in the recipe's order.
        mapping: result tensor -> its places, where layers are stacked; None = equal names belong together.
        copied: result tensors that every source presents alike (output heads).
        tied: result tensor -> the one whose weight it shares, see `tied_tensors`: such duplicates are left out.
        lent: result tensor -> labels of the inputs that rightly lack it.
        ignored: result tensor -> why it is left out where some inputs lack it.

    Raises:
        CompressionError: with every problem, one a line: tensors that some inputs lack, other shapes, integer tensors that
            differ, patterns that match nothing.
    """
    return _Planner(merge, sources, tied or {}, copied, lent or {}, ignored or {}).plan(mapping)


class _Planner:
    def __init__(
        self,
        merge: Merge,
        sources: Mapping[str, Source],
        tied: Mapping[str, str],
        copied: Sequence[str],
        lent: Mapping[str, Collection[str]],
        ignored: Mapping[str, str],
    ) -> None:
        self.merge, self.sources, self.tied, self.copied = merge, sources, tied, copied
        self.lent, self.ignored = lent, ignored
        self.differs = differences(merge.compat)
        self.account = Account()
        self.problems: list[str] = []
        self.excludes = matcher(merge.exclude, "exclude")
        self.takes = matcher(list(merge.take), "take")
        self.matched: set[tuple[str, str]] = set()

    def plan(self, mapping: Mapping[str, Sequence[Location]] | None) -> Account:
        if mapping is None:
            mapping = self._by_name()
        for name in sorted(mapping):
            self._one(name, mapping[name])
        given = [
            *(("exclude", pattern) for pattern in self.merge.exclude),
            *(("take", pattern) for pattern in self.merge.take),
        ]
        for setting, pattern in given:
            if (setting, pattern) not in self.matched:
                self._check_unused(setting, pattern, mapping)
        if not self.problems:
            self._check_complete()
        refuse_first(self.problems)
        return self.account

    def _check_unused(self, setting: str, pattern: str, names: Collection[str]) -> None:
        if not any(map(matcher([pattern], setting), names)):
            self.problems.append(f"{setting}: {pattern!r} matches no tensor; the inputs have names like {min(names)!r}")
        elif setting == "take":
            self.problems.append(
                f"take: {pattern!r} decides nothing, as exclude, a pattern before it or a tie has all that it matches; put"
                " it first, or leave it out"
            )

    def _by_name(self) -> dict[str, list[Location]]:
        found: dict[str, list[Location]] = {}
        for label, source in self.sources.items():
            for name in source.infos:
                found.setdefault(name, []).append((label, name))
        return found

    def _one(self, name: str, places: Sequence[Location]) -> None:
        excluded = self.excludes(name)
        if excluded is not None:
            self.matched.add(("exclude", excluded))
            self._leave_out(places, f"exclude: {excluded}")
            return
        if name in self.tied:
            self._leave_out(places, f"tied to {self.tied[name]}")
            return
        taken = self.takes(name)
        if taken is not None:
            self.matched.add(("take", taken))
            self._take(name, places, self.merge.take[taken], f"take: {taken}")
            return
        if name in self.copied:  # every source presents it; of stacked layers only the last slice's are there
            self._take(name, places, places[0][0], "heads")
            return
        if name in self.ignored and {label for label, _ in places} != set(self.sources):
            self._leave_out(places, self.ignored[name])
            return
        if not self._in_all(name, places) or not self._same_shape(name, places):
            return
        dtypes = {self._info(place).dtype for place in places}
        if any(dtype.is_floating_point and dtype.itemsize == 1 for dtype in dtypes):
            self.problems.append(
                f"{name} of {self._where(places[0])} is stored in 8-bit floats without a scale; dequantize it"
            )
        elif all(dtype.is_floating_point for dtype in dtypes):
            self._merge(name, places)
        elif len(dtypes) > 1:
            self.problems.append(f"{name} is {_listed(dtypes)} in different inputs; convert them to one type")
        else:
            self._copy_equal(name, places)

    def _merge(self, name: str, places: Sequence[Location]) -> None:
        base = next((place for place in places if place[0] == BASE), None)
        members = tuple(place for place in places if place[0] != BASE)
        info = self._info(base or members[0])
        convert = self._converted(places)
        if self.differs.stores_computed_dtype:
            info = dataclasses.replace(info, dtype=convert or info.dtype)
        if self.merge.dtype != "auto":
            info = dataclasses.replace(info, dtype=getattr(torch, self.merge.dtype))
        if not members:
            self.account.tasks[name] = TensorTask(
                name=name, info=info, action="copy", sources=(places[0],), reason="base alone"
            )
            return
        mean, reason = False, ""
        if name in self.lent:
            method = self.merge.method
            few = len(members) < method.num_members[0] or (method.needs_base and base is None)
            if len(members) == 1 and (few or base is None):
                reason = f"{members[0][0]} alone has it"
                self.account.tasks[name] = TensorTask(name=name, info=info, action="copy", sources=members, reason=reason)
                return
            mean = few
            reason = "the members' mean without a base" if mean else "by those that have it"
        self.account.tasks[name] = TensorTask(
            name=name, info=info, action="merge", sources=members, base=base, convert=convert, mean=mean, reason=reason
        )

    def _converted(self, places: Sequence[Location]) -> torch.dtype | None:
        """What the operands are converted to; aligned types count where differences are rounded to them."""
        if self.merge.input_dtype != "auto":
            return getattr(torch, self.merge.input_dtype)  # type: ignore[no-any-return]
        if not self.differs.aligns_dtypes:
            return None
        return functools.reduce(torch.promote_types, (self._info(place).dtype for place in places))

    def _copy_equal(self, name: str, places: Sequence[Location]) -> None:
        """Integers and booleans cannot be averaged; they must agree."""
        first = self._read(places[0])
        for place in places[1:]:
            if not torch.equal(first, self._read(place)):
                self.problems.append(
                    f"{name} holds integers that differ between {self._where(places[0])} and {self._where(place)};"
                    f" {self._way_out(f'write take: {{{name!r}: <member>}} to say whose are kept')}"
                )
                return
        info = self._info(places[0])
        reason = "equal in all inputs"
        self.account.tasks[name] = TensorTask(name=name, info=info, action="copy", sources=(places[0],), reason=reason)
        self._leave_out(places[1:], reason)

    def _take(self, name: str, places: Sequence[Location], label: str, reason: str) -> None:
        chosen = next((place for place in places if place[0] == label), None)
        if chosen is None:
            owners = ", ".join(owner for owner, _ in places)
            self.problems.append(f"{reason}: {name} comes from {owners} here, and not from {label}; name one it comes from")
            return
        info = self._info(chosen)
        if self.merge.dtype != "auto" and info.dtype.is_floating_point:
            info = dataclasses.replace(info, dtype=getattr(torch, self.merge.dtype))
        self.account.tasks[name] = TensorTask(name=name, info=info, action="copy", sources=(chosen,), reason=reason)
        self._leave_out([place for place in places if place != chosen], reason)

    def _same_shape(self, name: str, places: Sequence[Location]) -> bool:
        shapes = {self._info(place).shape for place in places}
        if len(shapes) == 1:
            return True
        first = self._info(places[0]).shape
        other = next(place for place in places if self._info(place).shape != first)
        self.problems.append(
            f"{name} has shape {list(first)} in {self._where(places[0])} and {list(self._info(other).shape)} in"
            f" {self._where(other)}; align the vocabularies with `tokenizer`, or"
            f" {self._way_out('the labels with `heads`, or exclude it')}"
        )
        return False

    def _in_all(self, name: str, places: Sequence[Location]) -> bool:
        """Whether every input has it; where layers are stacked, the recipe says who must."""
        have = {label for label, _ in places}
        absent = [label for label in self.sources if label not in have and label not in self.lent.get(name, ())]
        if not absent or self.merge.slices is not None:
            return True
        self.problems.append(
            f"{self._where((absent[0], name))} has no tensor {name}, which {self._where(places[0])} has;"
            f" {self._way_out(f'exclude it, or write take: {{{name!r}: <member>}}')}"
        )
        return False

    def _check_complete(self) -> None:
        """Every input tensor is accounted for."""
        used = self.account.used()
        for label, source in self.sources.items():
            for name in source.infos:
                if (label, name) not in used and (label, name) not in self.account.excluded:
                    if self.merge.slices is not None:
                        self.account.excluded[label, name] = "slices: not among the chosen layers"
                    else:
                        self.problems.append(
                            f"{name} of {self._where((label, name))} is neither merged, copied nor excluded"
                        )

    def _leave_out(self, places: Sequence[Location], reason: str) -> None:
        self.account.excluded.update(dict.fromkeys(places, reason))

    def _info(self, place: Location) -> TensorInfo:
        return self.sources[place[0]].infos[place[1]]

    def _read(self, place: Location) -> torch.Tensor:
        return self.sources[place[0]].read(place[1])

    def _way_out(self, own: str) -> str:
        return way_out(own, self.merge.compat)

    def _where(self, place: Location) -> str:
        source = self.sources[place[0]]
        return f"{place[0]} ({source.place})" if place[0] != source.place else place[0]


def _listed(dtypes: set[torch.dtype]) -> str:
    return " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
