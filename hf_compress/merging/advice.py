"""Ways out that can be written into the file at hand."""

from hf_compress.merging.compat import Compat, differences


def way_out(own: str, compat: Compat) -> str:
    """What to do, for a recipe of ours and for a mergekit configuration, which has neither exclude nor take nor heads.

    Args:
        own: the way out in our own recipe, e.g. "exclude it".
        compat: of the merge.
    """
    if not differences(compat).file_has_no_take:
        return own
    return f"a mergekit file cannot say what becomes of it: leave that model out, or write a recipe of members and {own}"
