"""What cannot be measured is refused when it is asked for."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.evaluation.cost.configuration import Cost


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"batch": ()}, "batch is empty"),
        ({"batch": (0,)}, "batch=0 must be 1 or more"),
        ({"batch": (2, 2)}, r"batch=\[2, 2\] names a number twice"),
        ({"length": (0,)}, "length=0 must be 1 or more"),
        ({"runtimes": ()}, "runtimes is empty"),
        ({"rounds": 5}, "rounds=5: .* write 6 or more"),
        ({"new_tokens": 1}, "write 2 or more, or 0"),
        ({"warmup": -1}, "warmup=-1 must be 0 or more"),
    ],
)
def test_what_says_nothing_is_refused(arguments, says):
    with pytest.raises(CompressionError, match=says):
        Cost(**arguments)
