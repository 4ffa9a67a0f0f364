"""The table on the page about several processes is what the script prints."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_of_the_page_is_the_scripts():
    spec = importlib.util.spec_from_file_location("footprints", ROOT / "scripts" / "footprints.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert "\n".join(module.lines()) in (ROOT / "docs" / "scaling.md").read_text()
