import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hf_compress import CompressionError
from hf_compress.training.averaging.snapshots import Snapshots
from tests.tiny import tiny_vit
from tests.training.averaging.recorded import Record, plain_trainer
from tests.training.runs import assert_equal_bits, weights
from tests.training.test_resume import StopAt


def test_snapshots_are_the_weights_of_their_steps_and_load(tmp_path):
    record = Record()
    trainer = plain_trainer(tmp_path, record, Snapshots(begin="25%", every="25%"), save_strategy="no")
    trainer.train()
    folders = Snapshots.folders(tmp_path)
    assert [folder.name for folder in folders] == ["step-3", "step-6", "step-9", "step-12"]
    for folder in folders:
        loaded, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        assert not any(info.values())
        expected = record.weights[int(folder.name.removeprefix("step-"))]
        assert all((loaded.get_parameter(name).double() == value).all() for name, value in expected.items())
    assert_equal_bits(weights(loaded), weights(trainer.model))


def test_a_resumed_run_has_the_same_snapshots(tmp_path):
    plain_trainer(tmp_path / "straight", Snapshots(every=4)).train()
    plain_trainer(tmp_path / "resumed", Snapshots(every=4), StopAt(6)).train()
    plain_trainer(tmp_path / "resumed", Snapshots(every=4)).train(resume_from_checkpoint=True)
    sides = [Snapshots.folders(tmp_path / side) for side in ("straight", "resumed")]
    assert [folder.name for folder in sides[0]] == ["step-4", "step-8", "step-12"] == [folder.name for folder in sides[1]]
    for one, other in zip(*sides, strict=True):
        assert_equal_bits(load_file(one / "model.safetensors"), load_file(other / "model.safetensors"))


def test_names_on_disk_are_those_of_the_architecture(tmp_path):
    """ViT renames tensors when it is saved."""
    from transformers import Trainer

    from tests.training.runs import arguments, image_rows

    model = tiny_vit(num_labels=3)
    Trainer(
        model=model,
        args=arguments(tmp_path, max_steps=2, save_strategy="no"),
        train_dataset=image_rows(model),
        callbacks=[Snapshots(every=2)],
    ).train()
    model.save_pretrained(tmp_path / "reference")
    files = [folder / "model.safetensors" for folder in (*Snapshots.folders(tmp_path), tmp_path / "reference")]
    assert_equal_bits(*map(load_file, files))


def test_every_zero_is_refused():
    with pytest.raises(CompressionError, match="every=0 takes no step"):
        Snapshots(every=0)
