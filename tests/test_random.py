import random

import numpy
import torch

from hf_compress._random import random_states_kept


def draw():
    return random.random(), float(numpy.random.rand()), float(torch.rand(()))


def test_what_the_block_draws_changes_nothing_behind_it_even_where_it_fails():
    with random_states_kept(3):
        wanted = draw()
        following = draw()
    with random_states_kept(3):
        assert draw() == wanted
        try:
            with random_states_kept():
                assert draw() == following
                raise ValueError
        except ValueError:
            pass
        assert draw() == following
