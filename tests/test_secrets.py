"""What looks like a secret is found by its key or its value, and nothing else is."""

import types

import pytest

from hf_compress._errors import CompressionError
from hf_compress._secrets import find_secrets, hide_secrets, left_out, refuse_secrets

HF = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
SECRETS = {
    "hub_token": "x",
    "token": "x",
    "hf_token": "x",
    "use_auth_token": "x",
    "WANDB_API_KEY": "x",
    "api_key": "x",
    "aws_secret_access_key": "x",
    "password": "x",
    "db_password": "x",
    "client_secret": "x",
    "title": HF,
    "model": f"https://user:{HF}@huggingface.co/a/b",
    "name": "postgres://user:pass@host/db",
    "run_name": "ghp_AbCdEfGhIjKlMnOpQrSt0123456789",
    "note": "AKIAIOSFODNN7EXAMPLE",
    "text": "sk-abcdefghijklmnopqrstuvwx",
    "jwt": "eyJhbGciOiJI.eyJzdWIiOiIx",
}
HARMLESS = {
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "eos_token_id": 2,
    "image_token": "<image>",
    "token_type_ids": "x",
    "max_new_tokens": "5",
    "tokenizer": "path/of/tokenizer",
    "hub_token": None,
    "model": "hf_compress/tiny_model_of_the_tests",
    "path": "org/hf_data",
    "secretary": "x",
    "url": "https://huggingface.co/a/b@main",
    "rows": {"password": "base", "token": "a"},
    "revision": "0123456789abcdef0123456789abcdef01234567",
}


@pytest.mark.parametrize("key", SECRETS)
def test_a_secret_is_found_and_never_repeated(key):
    data = {"training": [{key: SECRETS[key]}]}
    assert find_secrets(data) == [f"training.0.{key}"]
    with pytest.raises(CompressionError, match=f"training.0.{key}: holds a secret.*HF_TOKEN") as refusal:
        refuse_secrets(data)
    assert SECRETS[key] == "x" or SECRETS[key] not in str(refusal.value)


@pytest.mark.parametrize("key", HARMLESS)
def test_what_only_sounds_like_one_passes(key):
    refuse_secrets({"training": {key: HARMLESS[key]}})


def test_a_secret_as_a_key_is_not_repeated_either():
    assert find_secrets({"a": {HF: 1}}) == ["a.<secret>"]


def test_text_is_shown_without_them():
    assert (
        hide_secrets(f"unknown key '{HF}' in https://me:{HF}@host/x") == "unknown key '<secret>' in https://<secret>@host/x"
    )
    assert hide_secrets("nothing here") == "nothing here"


def test_attributes_are_left_out_while_a_block_runs_and_come_back():
    arguments = types.SimpleNamespace(hub_token=HF, run_name=HF, seed=1, output_dir="out", pad_token="<pad>")
    before = dict(vars(arguments))
    with pytest.raises(RuntimeError), left_out(arguments):
        assert (arguments.hub_token, arguments.run_name, arguments.output_dir) == (None, None, "out")
        assert arguments.pad_token == "<pad>"
        raise RuntimeError
    assert vars(arguments) == before
