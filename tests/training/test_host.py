from transformers import Trainer

from hf_compress import CompressionTrainer
from hf_compress.training.host import has_known_loss, loss_owner


class Own(Trainer):
    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs)


def test_the_owner_is_the_class_behind_the_mixin():
    from hf_compress import CompressionMixin

    class Mixed(CompressionMixin, Own):
        pass

    class Front(CompressionTrainer):
        def compute_loss(self, *args, **kwargs):
            return super().compute_loss(*args, **kwargs)

    for cls, owner, known in (
        (Mixed, Own, False),
        (Front, Trainer, True),
        (CompressionTrainer, Trainer, True),
        (Own, Own, False),
    ):
        trainer = object.__new__(cls)
        assert loss_owner(trainer) is owner and has_known_loss(trainer) is known
