"""Whose numbers: where a library differs from the paper, each difference by a name that code can ask for."""

from dataclasses import dataclass
from typing import Literal

Compat = Literal["paper", "mergekit", "peft"]
"""Whose numbers: the paper's formula, or those of a library where they differ from it."""


@dataclass(frozen=True, kw_only=True)
class Differences:
    """What is done otherwise than the papers say, or than this library does where they say nothing.

    Attributes, of task vectors and their consensus:
        rounds_differences: task vectors are taken in the stored type, which rounds them, and not in fp32.
        cancelled_votes_elect_plus: votes for a sign that cancel elect plus; otherwise the element stays the base's.
        unweighted_votes: members vote, and count in the divisor of the disjoint mean, once each and not by their weights.
        signed_divisor: the disjoint mean divides by the sum of w_i and not of |w_i|.
        takes_zero_sum: weights that sum to 0 are taken where they would divide: weighted sums stay undivided, nuslerp goes
            halfway. Otherwise they are refused.

    Of what stays of a task vector:
        cuts_counts_off: a share of n elements is int(share * n) of them and not the nearest whole number.
        keeps_at_least_one: a density above 0 keeps one element at least.
        spares_outliers: where density + gamma > 1 breadcrumbs removes fewer outliers; otherwise it refuses.
        rescale_restores_norm: `rescale` of DARE and DELLA restores the l1 norm and does not divide by probabilities.
        ranks_along_second: DELLA ranks tensors of more than two dimensions along their second one, not by rows.
        lacks: methods that the library has not, which are refused.

    Of lengths and angles, and of what is computed from them:
        floors_divisors: what divides is kept above a small number of each method's own (slerp, nuslerp, model_stock,
            nearswap, sce), so that short counts as orthogonal; otherwise only 0 is told apart.
        straightens_elsewhere: slerp and nuslerp take a straight line at other angles than where sin W is lost in rounding.
        projects_tangents: multislerp projects onto the tangent space and takes no logarithms, with its own guards.
        copies_lone_member: multislerp copies one member alone, whatever its weight.
        drops_short_vectors: karcher gives tensors no longer than `tol` no direction.
        starts_at_a_member: karcher starts at the first member where directions cancel, and takes no average.
        averages_cosines: model_stock averages the cosines of the pairs and not their angles.
        leaves_ratio_unclamped: model_stock's t may lie outside [0, 1].
        cuts_last_dimension: `filter_wise` of model_stock cuts along the last dimension and not by the first.
        divergence_in_fp32: arcee_fusion takes its divergence in fp32, and adds 1e-8 to probabilities in the quotient.
        selects_among_varying: sce selects a share of the elements that vary, cut off, and not of all.
        evens_small_energies: sce weighs members alike where their mean squares sum to less than 1e-6, not only to 0.

    Of tensors, layers and files:
        tail_has_depth_0: lists are read at depth 0 for tensors outside layers, heads and final norms too.
        depth_within_slices: lists are read at a layer's share of its own slice and not of the whole stack.
        takes_idle_rules: a rule that matches no tensor is logged; otherwise it is refused.
        aligns_dtypes: operands are converted to the widest of their types first.
        stores_computed_dtype: a tensor is stored in the type it is computed with and not in the base's.
        takes_missing_template: `chat_template: auto` may find none; otherwise that is refused.
        drops_padding: an aligned vocabulary has as many rows as tokens, whatever the models have.
        pads_with_mean: rows that `pad_to_multiple_of` adds are the mean of all rows and not zeros.
        base_lends_rows: a model that lacks a token gets the base's row where that has one, before any average.
        adds_named_tokens: tokens named in `rows` and `missing_rows` that the result lacks are added; otherwise refused.
        file_has_no_take: the file that was read has neither exclude nor take nor heads that advice could name.
    """

    rounds_differences: bool = False
    cancelled_votes_elect_plus: bool = False
    unweighted_votes: bool = False
    signed_divisor: bool = False
    takes_zero_sum: bool = False

    cuts_counts_off: bool = False
    keeps_at_least_one: bool = False
    spares_outliers: bool = False
    rescale_restores_norm: bool = False
    ranks_along_second: bool = False
    lacks: tuple[str, ...] = ()

    floors_divisors: bool = False
    straightens_elsewhere: bool = False
    projects_tangents: bool = False
    copies_lone_member: bool = False
    drops_short_vectors: bool = False
    starts_at_a_member: bool = False
    averages_cosines: bool = False
    leaves_ratio_unclamped: bool = False
    cuts_last_dimension: bool = False
    divergence_in_fp32: bool = False
    selects_among_varying: bool = False
    evens_small_energies: bool = False

    tail_has_depth_0: bool = False
    depth_within_slices: bool = False
    takes_idle_rules: bool = False
    aligns_dtypes: bool = False
    stores_computed_dtype: bool = False
    takes_missing_template: bool = False
    drops_padding: bool = False
    pads_with_mean: bool = False
    base_lends_rows: bool = False
    adds_named_tokens: bool = False
    file_has_no_take: bool = False


TABLE: dict[Compat, Differences] = {
    "paper": Differences(),
    "mergekit": Differences(  # version 0.1.5
        rounds_differences=True,
        cancelled_votes_elect_plus=True,
        signed_divisor=True,
        takes_zero_sum=True,
        cuts_counts_off=True,
        keeps_at_least_one=True,
        spares_outliers=True,
        rescale_restores_norm=True,
        ranks_along_second=True,
        floors_divisors=True,
        straightens_elsewhere=True,
        projects_tangents=True,
        copies_lone_member=True,
        drops_short_vectors=True,
        starts_at_a_member=True,
        averages_cosines=True,
        leaves_ratio_unclamped=True,
        cuts_last_dimension=True,
        divergence_in_fp32=True,
        selects_among_varying=True,
        evens_small_energies=True,
        tail_has_depth_0=True,
        depth_within_slices=True,
        takes_idle_rules=True,
        aligns_dtypes=True,
        stores_computed_dtype=True,
        takes_missing_template=True,
        drops_padding=True,
        pads_with_mean=True,
        base_lends_rows=True,
        adds_named_tokens=True,
        file_has_no_take=True,
    ),
    "peft": Differences(
        cancelled_votes_elect_plus=True, unweighted_votes=True, cuts_counts_off=True, lacks=("della", "della_linear")
    ),
}
"""Every value of `compat`, and what it changes."""


def differences(compat: Compat) -> Differences:
    """What `compat` changes.

    Args:
        compat: a method's or a merge's.
    """
    return TABLE[compat]
