import pytest
from huggingface_hub import HfApi, constants

from hf_compress import CompressionError
from hf_compress._hub.client import Hub
from hf_compress._hub.destination import open_destination
from hf_compress._hub.publication import Publication
from tests._hub.made import patient
from tests.local_hub import OTHER_TOKEN, READ_TOKEN, TOKEN


def find(hub=None, **settings):
    return open_destination(Publication(**{"repo_id": "me/model", **settings}), hub or patient())


def test_nothing_is_written_by_looking(local_hub):
    local_hub.create("team/known")
    assert find().head is None
    assert find(repo_id="model").repo_id == "me/model"  # the owner is the token's
    known = find(repo_id="team/known")
    assert known.head == local_hub.repos["team/known"].branches["main"]
    assert set(known.files) == {".gitattributes"}
    assert all(request.startswith("GET") for request in local_hub.requests)


REFUSED = {
    "no token": ("", {}, r"there is no token for the Hub; set HF_TOKEN in the environment, or log in with `hf auth login`"),
    "an unknown token": ("hf_" + "z" * 30, {}, "does not know the token that HF_TOKEN or `hf auth login` gave"),
    "a token that reads": (READ_TOKEN, {}, "the token of me may only read"),
    "somebody else's name": (
        TOKEN,
        {"repo_id": "other/new"},
        r"not the token's to write to, which writes for me \(and for team\)",
    ),
    "somebody else's repository": (TOKEN, {"repo_id": "other/theirs"}, "name a repository of yours, or ask its owners"),
    "a team that one reads": (TOKEN, {"repo_id": "readers/new"}, "not the token's to write to"),
    "somebody else's private one": (
        OTHER_TOKEN,
        {"repo_id": "me/secret"},
        "not the token's to write to, which writes for other;",
    ),
    "a token with letters that none has": ("sécret-and-long", {}, "holds letters that no token has; copy it anew"),
    "somebody else's collection": (
        TOKEN,
        {"collection": "other/best-" + "0" * 24},
        "is not the slug of a collection of yours; copy it .*, or write a title",
    ),
    "a collection that is not there": (TOKEN, {"collection": "me/best-" + "0" * 24}, "is not the slug of a collection"),
    "a request to nothing": (TOKEN, {"create_pr": True}, "there is no such repository"),
    "public and to be private": (
        TOKEN,
        {"repo_id": "me/public", "private": True},
        "me/public is public, and private is asked",
    ),
}


@pytest.mark.parametrize("token, settings, sentence", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_to_is_refused_before_anything_is(token, settings, sentence, local_hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    for name in ("other/theirs", "me/public"):
        local_hub.create(name)
    local_hub.create("me/secret", private=True)
    with pytest.raises(CompressionError, match=sentence) as refusal:
        find(**settings)
    assert token == "" or token not in str(refusal.value)
    assert all(request.startswith("GET") for request in local_hub.requests)


def test_a_token_without_the_right_to_this_repository_is_refused(local_hub):
    local_hub.create("me/model")
    local_hub.fault("GET .*/auth-check/write", 403)
    with pytest.raises(CompressionError, match=r"not the token's to write to \(status 403"):
        find()


def test_a_hub_that_is_not_reached_is_said_so(local_hub, monkeypatch):
    nowhere = Hub(api=HfApi(endpoint="http://127.0.0.1:9"), waits=())
    with pytest.raises(
        CompressionError, match=r"the Hub \(http://127.0.0.1:9\): it cannot be reached .*nothing was uploaded"
    ):
        find(nowhere)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("time.sleep", None)  # it does not pass, so nothing is waited for
    with pytest.raises(CompressionError, match="HF_HUB_OFFLINE is set"):
        find()


def test_a_busy_hub_is_asked_again(local_hub):
    local_hub.create("me/model")
    for kind in (500, 429, "hang up"):
        local_hub.fault("GET /api/whoami-v2", kind)
        local_hub.fault("GET /api/models/me/model$", kind)
    assert find().exists
    local_hub.fault("GET /api/whoami-v2", 503, times=6)
    with pytest.raises(CompressionError, match="status 503.*nothing was uploaded"):
        find()
