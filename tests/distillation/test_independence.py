import pytest
import torch

from hf_compress import CompressionError, ModelTeacher
from hf_compress.distillation.independence import check_independence
from hf_compress.distillation.teachers.model import LoadedModelTeacher
from tests.tiny import tiny_llama

BATCH = {"input_ids": torch.arange(3, 9).view(1, 6)}


def test_a_teacher_with_weights_of_its_own_passes():
    student = tiny_llama(seed=0)
    check_independence(ModelTeacher().load(student, torch.device("cpu")), student, BATCH)


def test_one_weight_of_the_students_is_found_however_it_is_reached():
    student, teacher = tiny_llama(seed=0), tiny_llama(seed=1)
    shared = student.lm_head.weight
    teacher.model.norm.register_forward_hook(lambda module, args, output: output + shared.sum() * 0)
    with pytest.raises(CompressionError, match=r"uses the student's own lm_head.weight"):
        check_independence(LoadedModelTeacher(teacher), student, BATCH)
