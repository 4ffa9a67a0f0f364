"""Members that know something of the labels, each in its own way."""

import torch


def members(num_members=3, num_rows=200, num_classes=4, seed=0, skill=(1.5, 1.0, 0.5), sharpness=(1.0, 1.0, 1.0)):
    """Logits (M, N, C) in fp32 and labels (N,): noise of its own, a push towards the label, all times a sharpness."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (num_rows,), generator=generator)
    labels[:num_classes] = torch.arange(num_classes)  # every class is there
    noise = torch.randn(num_members, num_rows, num_classes, generator=generator)
    push = torch.nn.functional.one_hot(labels, num_classes)
    return torch.stack([(noise[m] + skill[m] * push) * sharpness[m] for m in range(num_members)]), labels
