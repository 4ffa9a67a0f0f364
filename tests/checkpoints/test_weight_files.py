"""Folders that another runtime loads, told apart by the list that transformers writes beside their programs."""

import hashlib

from hf_compress.checkpoints.hashes import companion_hashes, weight_hashes
from hf_compress.checkpoints.weight_files import holds_program, program_files
from hf_compress.evaluation.size import measure_size
from hf_compress.export.publishable import open_publishable
from tests.small import write_model

CONTENT = {"model.onnx": b"graph", "model.onnx.data": b"weights", "export.json": b"{}", "config.json": b"{}"}


def write(folder):
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return folder


def test_graph_and_data_are_the_weights_of_a_folder_that_holds_a_program(tmp_path):
    folder = write(tmp_path / "program")
    assert holds_program(folder) and [file.name for file in program_files(folder)] == ["model.onnx", "model.onnx.data"]
    expected = {name: hashlib.sha256(CONTENT[name]).hexdigest() for name in ("model.onnx", "model.onnx.data")}
    assert weight_hashes(folder) == expected == open_publishable(folder).sha256
    assert set(companion_hashes(folder)) == {"export.json", "config.json"}
    assert measure_size(folder)["file_bytes"] == len(b"graph" + b"weights")


def test_a_graph_that_lies_beside_a_checkpoint_is_none_of_its_weights(tmp_path):
    folder = write_model(tmp_path / "model")
    (folder / "model.onnx").write_bytes(b"graph")
    assert program_files(folder) == [] and not holds_program(folder)
    (folder / "export.json").write_text("{}")
    assert not holds_program(folder) and set(weight_hashes(folder)) == {"model.safetensors"}
    assert measure_size(folder)["file_bytes"] == (folder / "model.safetensors").stat().st_size
