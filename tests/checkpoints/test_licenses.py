"""Licences, from the cards beside weights."""

import pytest

from hf_compress.checkpoints.licenses import license_of

CARDS = {
    "---\nlicense: apache-2.0\n---\n# a\n": {"license": "apache-2.0"},
    "---\nlicense: other\nlicense_name: mine\nlicense_link: LICENSE\n---\n": {
        "license": "other",
        "license_name": "mine",
        "license_link": "LICENSE",
    },
    "---\ntags: [a]\n---\n": {},
    "---\nlicense: [a, b]\n---\n": {},
    "---\n: : :\n---\n": {},
    "no front matter": {},
}


@pytest.mark.parametrize("text", CARDS)
def test_the_licence_is_what_the_front_matter_says(text, tmp_path):
    (tmp_path / "README.md").write_text(text)
    assert license_of(str(tmp_path)) == CARDS[text]


def test_a_folder_without_a_card_has_no_known_licence(tmp_path):
    assert license_of(str(tmp_path)) == {}
