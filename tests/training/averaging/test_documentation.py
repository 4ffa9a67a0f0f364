"""The page's examples run as they are written."""

import re
from pathlib import Path

from transformers import AutoModelForImageClassification

from tests.tiny import tiny_llama
from tests.training.averaging.test_batch_norm import batches
from tests.training.averaging.test_checkpoint import tiny_resnet
from tests.training.runs import arguments, assert_equal_bits, text_rows, weights

PAGE = Path(__file__).parents[3] / "docs" / "weight-averaging.md"


def run(example, **names):
    exec(compile(example, str(PAGE), "exec"), names)
    return names


def test_examples_of_the_page(tmp_path):
    import textwrap

    first, second = (
        textwrap.dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```", PAGE.read_text(), re.M | re.S)
    )
    data = text_rows()
    done = run(first, model=tiny_llama(), arguments=arguments(tmp_path, max_steps=2), data=data, held_out=data)
    assert (tmp_path / "averaged" / "ema" / "config.json").is_file() and done["averaged"] is not done["model"]
    tiny_resnet().save_pretrained(tmp_path / "averaged" / "swa")
    done = run(second.replace("out/averaged", str(tmp_path / "averaged")), batches=batches())
    assert_equal_bits(
        weights(done["model"]), weights(AutoModelForImageClassification.from_pretrained(tmp_path / "averaged" / "swa"))
    )
