"""What an allocation that forgets its method says."""

import pytest

from hf_compress.pruning.allocation import Allocation


def test_an_allocation_without_shares_names_itself():
    class Forgetful(Allocation):
        pass

    with pytest.raises(TypeError, match=r"Forgetful defines no shares\(\)"):
        Forgetful().shares({}, 0.5)
