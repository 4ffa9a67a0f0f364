import pytest

from hf_compress import CompressionError
from hf_compress._hub.publication import Publication


@pytest.mark.parametrize("name", ["a/b/c", "me/model--2", ".hidden/x", "me/model.git", "mein modell", "", "datasets/me/x"])
def test_a_name_that_the_hub_refuses_is_refused(name):
    with pytest.raises(CompressionError, match=r"is not the name of a repository; write owner/name"):
        Publication(repo_id=name)


REFUSED = {
    "revision without a repository": ({"repo_id": None, "revision": "v2"}, "revision says how .* and repo_id not where"),
    "a branch that git refuses": ({"revision": "a..b"}, "revision='a..b' is not the name of a branch"),
    "a request's branch": ({"revision": "refs/pr/1"}, "names no branch, .* open a pull request with create_pr"),
    "a commit": ({"revision": "a" * 40}, "names no branch, and a push goes to one"),
    "a tag that git refuses": ({"tag": "-v1"}, "tag='-v1' is not the name of a tag"),
    "a request to a branch": ({"create_pr": True, "revision": "dev"}, "leave one of them out"),
    "a tag on a request": ({"create_pr": True, "tag": "v1"}, "tag what was merged"),
    "a nameless collection": ({"collection": " "}, "collection is empty"),
}


@pytest.mark.parametrize("settings, sentence", REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together_is_refused(settings, sentence):
    with pytest.raises(CompressionError, match=sentence):
        Publication(**{"repo_id": "me/model", **settings})


def test_the_command_says_the_same(tmp_path):
    publication = Publication(repo_id="me/model", private=True, revision="dev", tag="v1", collection="My models")
    command = publication.command(tmp_path / "a b")
    assert command.startswith(f"hf-compress push '{tmp_path}/a b' me/model --private --revision dev --tag v1")
    assert command.endswith("--collection 'My models'")
