"""Names that give no folder away."""

import pytest

from hf_compress.merging.configuration import Heads, LayerRange, Member, Merge, Rule, Slice, Tokenizer
from hf_compress.merging.plan.public_names import publish


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Folders one/base, one/math, two/math, two/code and their statistics, and the process beside them."""
    for name in ("one/base", "one/math", "two/math", "two/code", "one/fisher", "two/fisher", "lora"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def labels(merge):
    return [member.label for member in merge.members]


def test_as_many_parts_as_tell_folders_apart(place):
    found = publish(Merge(base=f"{place}/one/base", members=[Member(f"{place}/one/math"), Member("two/code")]))
    assert labels(found.merge) == ["math", "code"]
    assert [member.model for member in found.merge.members] == ["./math", "./code"]
    assert found.merge.base == "./base"
    assert [member.model for member in found.job.members] == [f"{place}/one/math", "two/code"]
    found = publish(Merge(members=[Member("one/math"), Member("two/math"), Member("two/code")]))
    assert labels(found.merge) == ["one/math", "two/math", "code"]


def test_names_and_hub_ids_stay_as_they_are(place):
    found = publish(
        Merge(members=[Member("one/math", name="m"), Member("someone/model"), Member("two/code", adapter="lora")])
    )
    assert labels(found.merge) == ["m", "someone/model", "code+lora"]
    assert [member.model for member in found.merge.members] == ["./math", "someone/model", "./code"]
    assert found.merge.members[2].adapter == "./lora"


def test_a_short_name_is_not_one_that_stands_for_something_else(place):
    (place / "x" / "base").mkdir(parents=True)
    (place / "x" / "union").mkdir()
    found = publish(
        Merge(members=[Member("x/base"), Member("x/union"), Member("one/math", name="code"), Member("two/code")])
    )
    assert labels(found.merge) == ["x/base", "x/union", "code", "two/code"]


def test_everything_that_names_a_member_follows(place):
    math, code = f"{place}/one/math", f"{place}/two/code"
    merge = Merge(
        base="one/base",
        members=[Member(math, statistics={"fisher": f"{place}/one/fisher"}), Member(code)],
        rules=[Rule(member=math, set={"weight": 0.5})],
        take={"a": code},
        heads=Heads(policy="take", member=code),
        tokenizer=Tokenizer(source=math, rows={"<a>": code, "<b>": "base"}, missing_rows={"<c>": math}),
        slices=[Slice(sources=[LayerRange(member=code, layers=(0, 1)), LayerRange(member=math, layers=(0, 1))])],
    )
    found = publish(merge)
    assert str(place) not in repr(found.merge)
    for each in (found.job, found.merge):
        assert each.rules[0].member == "math" and each.take == {"a": "code"} and each.heads.member == "code"
        assert each.tokenizer.source == "math" and each.tokenizer.rows == {"<a>": "code", "<b>": "base"}
        assert each.tokenizer.missing_rows == {"<c>": "math"}
        assert [source.member for source in each.slices[0].sources] == ["code", "math"]
    assert found.merge.members[0].statistics == {"fisher": "./fisher"}
    assert found.job.members[0].statistics == {"fisher": f"{place}/one/fisher"}


def test_labels_do_not_depend_on_where_the_folders_lie(place, tmp_path):
    (tmp_path / "elsewhere" / "deep" / "math").mkdir(parents=True)
    first = publish(Merge(members=[Member("one/math"), Member("two/code")]))
    second = publish(Merge(members=[Member(f"{tmp_path}/elsewhere/deep/math"), Member("./two/../two/code")]))
    assert first.merge == second.merge
