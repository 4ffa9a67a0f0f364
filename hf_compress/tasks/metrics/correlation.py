"""What correlations of numbers share."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from hf_compress._errors import CompressionError


def correlate(name: str, function: Callable[..., Any], predictions: Sequence[Any], references: Sequence[Any]) -> float:
    """A correlation of scipy, 0 where either side is the same number throughout and it is not defined.

    Args:
        name: of the metric, for refusals.
        function: of scipy.stats.
        predictions: N numbers.
        references: N numbers.

    Raises:
        CompressionError: there is one row, or what is no finite number.
    """
    found, truth = (numpy.asarray(values, dtype=numpy.float64).reshape(-1) for values in (predictions, references))
    if len(found) != len(truth) or len(found) < 2:
        raise CompressionError(f"{name} of one row is not defined; evaluate two rows or more")
    for what, values in (("prediction", found), ("reference", truth)):
        if not numpy.isfinite(values).all():
            at = int(numpy.flatnonzero(~numpy.isfinite(values))[0])
            raise CompressionError(f"{name}: the {what} in row {at} is {values[at]}; correlations are of finite numbers")
    if (found == found[0]).all() or (truth == truth[0]).all():
        return 0.0
    return float(function(truth, found).statistic)
