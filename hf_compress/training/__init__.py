"""Hosts: a mixin, two ready-made trainers and callbacks that carry the techniques through a transformers Trainer."""
