"""What of a log is drawn."""

import math

from hf_compress import Quantization
from hf_compress.jobs.train.curves import curves, marks
from hf_compress.training.compression import NOTHING, Compression

LOG = [
    {"loss": 2.0, "grad_norm": 1.0, "learning_rate": 0.1, "epoch": 0.5, "step": 10},
    {"eval_loss": 1.5, "eval_runtime": 3.0, "step": 10},
    {"loss": math.nan, "step": 20},
    {"train_runtime": 5.0, "step": 20},
]


def test_losses_and_schedules_are_drawn_at_their_steps():
    assert curves(LOG) == ({"step": 10, "loss": 2.0, "learning_rate": 0.1}, {"step": 10, "eval_loss": 1.5})
    assert curves([]) == ()
    assert len(curves([{"loss": 1.0, "step": step} for step in range(2500)])) == 834


def test_the_begin_of_quantization_is_a_step():
    quantized = Compression(quantization=Quantization(scheme="W8A8", begin="50%"))
    assert marks(quantized, LOG) == {"quantization begins": 10}
    assert marks(NOTHING, LOG) == marks(quantized, []) == {}
