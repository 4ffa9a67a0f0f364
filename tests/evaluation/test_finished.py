"""A finished model as its files say it is."""

import pytest
import torch
from safetensors.torch import save_file

from hf_compress import CausalLM, Data
from hf_compress._errors import CompressionError
from hf_compress.evaluation.finished import load_finished
from hf_compress.tasks.opened import open_inputs
from tests.small import text_rows, write_jsonl, write_model
from tests.tiny import tiny_llama


def opened(tmp_path, model):
    data = Data(path=str(write_jsonl(tmp_path / "rows.jsonl", text_rows())))
    return open_inputs(str(model), data, CausalLM(length=16), measured="test")


def test_it_has_the_type_of_its_files_and_stands_in_eval_mode(tmp_path):
    folder = write_model(tmp_path / "model", tiny_llama().to(torch.bfloat16))
    model = load_finished(opened(tmp_path, folder), str(folder))
    assert model.dtype == torch.bfloat16 and not model.training


def test_what_does_not_load_is_refused_at_its_key(tmp_path):
    folder = write_model(tmp_path / "model")
    found = opened(tmp_path, folder)
    save_file({"model.norm.weight": torch.ones(7)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CompressionError, match="against: .*model cannot be loaded: "):
        load_finished(found, str(folder), "against")
