"""What a recipe's training would take on several processes."""

from hf_compress._errors import CompressionError
from hf_compress.jobs.train.plan import Plan
from hf_compress.training.footprint import missing, sizes_of, table


def scaling(plan: Plan, processes: int) -> str:
    """A table: a column for each way of spreading the training, a line for each kind of bytes.

    Args:
        plan: without mistakes.
        processes: one per GPU.

    Raises:
        CompressionError: there are more processes than training rows.
    """
    recipe, whole, args = plan.recipe, plan.trained.skeleton, plan.args  # with the pieces that a copy teaches, too
    assert whole is not None
    model = whole if plan.removal is None else plan.removal.left
    if not recipe.data.streaming and (rows := len(plan.opened.raw["train"])) < processes * args.per_device_train_batch_size:
        raise CompressionError(
            f"--world-size: {processes} processes take {processes * args.per_device_train_batch_size} rows at once, and the"
            f" train split has {rows}; start fewer, or lower training.per_device_train_batch_size"
        )
    teacher = None if recipe.distillation is None else recipe.distillation.teacher
    num_bytes = 0 if teacher is None else teacher.num_bytes(whole, recipe.task)
    spread = teacher is not None and teacher.shard == "like_student"
    sizes = sizes_of(model, recipe.compression, args, num_bytes, spread)
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * processes
    said = []
    if teacher is not None and teacher.shard == "auto":
        said.append("The teacher is counted whole; where it takes much of a GPU, `teacher.shard: auto` spreads it.")
    said += [f"Not counted: {name}, because {reason}." for name, reason in missing(sizes).items()]
    lines = [
        f"In each of {processes} processes, {batch} rows in an optimizer step in all:",
        "",
        table(sizes, processes),
        "",
        "Activations and logits are not counted: they grow with the rows and tokens of a batch.",
        *said,
    ]
    return "\n".join(lines)
