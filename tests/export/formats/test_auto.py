"""The choice that a run leaves to what it did."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.export_format import ExportFormat, every_format
from hf_compress.export.configuration import Export
from hf_compress.export.formats.auto import AutoFormat
from hf_compress.export.formats.compressed_tensors import CompressedTensorsFormat
from hf_compress.export.formats.dense import DenseFormat


def test_quantized_weights_are_packed_and_others_are_not():
    assert AutoFormat().chosen(quantized=True) == CompressedTensorsFormat()
    assert AutoFormat().chosen(quantized=False) == DenseFormat()
    assert AutoFormat().mistake(quantized=True) == AutoFormat().mistake(quantized=False) == ""


def test_a_choice_is_no_format_of_its_own():
    assert AutoFormat() not in every_format() and CompressedTensorsFormat() in every_format()


def test_a_name_stands_for_the_format_and_a_wrong_one_is_refused_with_the_nearest():
    assert Export(format="dense") == Export(format=DenseFormat()) and Export().format == AutoFormat()
    with pytest.raises(CompressionError, match="unknown export format 'dence'; did you mean 'dense'"):
        ExportFormat.create("dence")
