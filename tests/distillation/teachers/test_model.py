import pytest
import torch

from hf_compress import CompressionError, ModelTeacher
from tests.tiny import tiny_bert, tiny_hearer, tiny_llama, tiny_tokenizer


def test_without_a_model_the_teacher_is_a_frozen_copy_of_the_student():
    student = tiny_llama(seed=0)
    loaded = ModelTeacher().load(student, torch.device("cpu"))
    inputs = {"input_ids": torch.arange(3, 9).view(1, 6)}
    before = loaded.signal(inputs).logits
    with torch.no_grad():
        student.lm_head.weight.add_(1.0)
    assert torch.equal(loaded.signal(inputs).logits, before)
    assert not any(p.requires_grad for p in loaded.model.parameters()) and not loaded.model.training


def test_a_teacher_from_a_folder_answers_like_the_saved_model(tmp_path):
    saved = tiny_llama(seed=1)
    saved.save_pretrained(tmp_path)
    loaded = ModelTeacher(model=str(tmp_path)).load(tiny_llama(seed=0), torch.device("cpu"))
    inputs = {"input_ids": torch.arange(3, 9).view(1, 6)}
    with torch.no_grad():
        assert torch.equal(loaded.signal(inputs).logits, saved.eval()(**inputs).logits)


def test_another_vocabulary_is_refused():
    with pytest.raises(CompressionError, match="vocabulary of 80 and the student one of 64"):
        ModelTeacher(model=tiny_llama(seed=1, vocab_size=80)).load(tiny_llama(seed=0), torch.device("cpu"))


def test_another_number_of_labels_is_refused_and_another_order_is_reordered_by_name():
    with pytest.raises(CompressionError, match="4 labels and the student 3"):
        ModelTeacher(model=tiny_bert(num_labels=4)).load(tiny_bert(num_labels=3), torch.device("cpu"))
    student, teacher = tiny_bert(seed=0), tiny_bert(seed=1)
    student.config.id2label = {0: "good", 1: "bad", 2: "so"}
    teacher.config.id2label = {0: "bad", 1: "good", 2: "so"}
    inputs = {"input_ids": torch.arange(3, 9).view(1, 6)}
    signal = ModelTeacher(model=teacher).load(student, torch.device("cpu")).signal(inputs)
    with torch.no_grad():
        assert torch.equal(signal.logits, teacher.eval()(**inputs).logits[:, [1, 0, 2]])


def test_a_longer_padding_of_one_vocabulary_is_cut(tmp_path):
    tiny_llama(seed=1, vocab_size=80).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    loaded = ModelTeacher(model=str(tmp_path)).load(tiny_llama(seed=0), torch.device("cpu"), tiny_tokenizer())
    signal = loaded.signal({"input_ids": torch.arange(3, 9).view(1, 6)})
    assert signal.logits.shape == (1, 6, 64) and signal.common == 64


def test_another_tokenizer_of_equal_size_is_refused_where_the_students_is_known(tmp_path):
    tiny_llama(seed=1).save_pretrained(tmp_path)
    other = tiny_tokenizer()
    other.add_tokens(["another"])
    other.save_pretrained(tmp_path)
    with pytest.raises(CompressionError, match="teacher's tokenizer is another one"):
        ModelTeacher(model=str(tmp_path)).load(tiny_llama(seed=0), torch.device("cpu"), tiny_tokenizer())


def test_sounds_in_the_students_16_bits_are_read_in_the_teachers_32():
    student = tiny_hearer(seed=0)
    teacher = ModelTeacher(model=tiny_hearer(seed=1)).load(student, torch.device("cpu"))
    sound = torch.randn(1, 400, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = teacher.signal({"input_values": sound.float()}).logits
    assert torch.equal(teacher.signal({"input_values": sound}).logits, expected)
