"""Tests that speak to a Hub have one of their own."""

import pytest

from tests.local_hub import TOKEN, LocalHub


@pytest.fixture
def local_hub(monkeypatch, tmp_path):
    """A local Hub that the Hub's client in this process is pointed at, with a token that may write."""
    from huggingface_hub import constants
    from transformers.utils import hub as of_transformers

    with LocalHub().running() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(of_transformers, "_hf_api", None)  # it knows the Hub that it was made for
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants._HF_DEFAULT_ENDPOINT, hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its chunks are nobody's but the Hub's
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub
