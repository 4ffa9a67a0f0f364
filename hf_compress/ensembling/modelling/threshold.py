"""How often the members behind the first are asked, where a threshold leaves them out."""

from dataclasses import dataclass

from hf_compress._errors import CompressionError


@dataclass(kw_only=True)
class TokenAccount:
    """What a threshold saved.

    A row that is unsure makes the members behind the first read the whole batch, with the tokens that they have left out
    so far, so what is saved is passes, and of a batch fewer than of a row alone. Rows of `generate` that have ended count
    as long as the others go on.

    Attributes:
        tokens: places that were answered, of all rows.
        unsure: of these, where the first member was not sure, and the others counted.
        passes: forward passes of the first member.
        asked: of these, in which the others were asked too.
    """

    tokens: int = 0
    unsure: int = 0
    passes: int = 0
    asked: int = 0

    @property
    def share(self) -> float:
        """The share of tokens for which others counted.

        Raises:
            CompressionError: nothing was answered so far.
        """
        return self.unsure / self._some(self.tokens)

    @property
    def share_of_passes(self) -> float:
        """The share of passes in which others were asked.

        Raises:
            CompressionError: nothing was answered so far.
        """
        return self.asked / self._some(self.passes)

    def _some(self, count: int) -> int:
        if not count:
            raise CompressionError("no token was chosen so far, so no share of them; generate something first")
        return count
