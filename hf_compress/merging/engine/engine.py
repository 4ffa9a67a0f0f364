"""The streaming engine: a pool over tensors, one torch thread each, chunk after chunk, straight into the files."""

import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from hf_compress._errors import CompressionError
from hf_compress._progress import progress
from hf_compress.checkpoints.source import Source
from hf_compress.checkpoints.writer import Layout, Shard, ShardFile
from hf_compress.merging.configuration import BASE
from hf_compress.merging.engine.zeros import TensorZeros, ZerosPolicy, count_zeros
from hf_compress.merging.operands import CHUNK, Operands
from hf_compress.merging.plan.account import Account, Location, TensorTask
from hf_compress.merging.plan.parameters import Parameters

_VARIANCES = "running_var"
"""What BatchNorm calls its variances; task vectors can carry them below 0."""


def available_threads() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_device(device: str) -> None:
    """Refuse a device that is none, or is not here.

    Raises:
        CompressionError: naming it.
    """
    try:
        torch.zeros(1, device=device).sum().item()
    except (RuntimeError, AssertionError) as error:  # each kind of device says it in its own way
        reason = str(error).partition("\n")[0][:200]
        raise CompressionError(f"device={device!r} cannot be used: {reason}; cpu always can") from error


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Each operation runs in the thread that called it; the pool is the parallelism."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Engine:
    """Computes the planned tensors and writes them, shard by shard.

    Args:
        sources: by label.
        account: the plan.
        parameters_of: tensor name -> how it is merged.
        sparsity: what happens to zeros of pruned inputs, or None.
        seed: of random methods.
        statistics: by statistic name, then label: sources of what the method needs.
        device: where to compute; memory there is bounded by a chunk of every member (a tensor for whole-tensor methods).
        threads: tensors at once; the result does not depend on it.
    """

    def __init__(
        self,
        *,
        sources: Mapping[str, Source],
        account: Account,
        parameters_of: Callable[[str], Parameters],
        sparsity: ZerosPolicy | None = None,
        seed: int = 0,
        statistics: Mapping[str, Mapping[str, Source]] | None = None,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        self.sources, self.account, self.parameters_of, self.seed = sources, account, parameters_of, seed
        self.sparsity, self.statistics = sparsity, statistics or {}
        self.device = torch.device(device)
        self.threads = threads or available_threads()
        self._stop = threading.Event()

    def write(self, folder: Path, layout: Layout, finished: Sequence[str], done: Callable[[str], None]) -> None:
        """Write every shard that is not finished yet.

        Args:
            folder: where the files go.
            layout: what is in which file.
            finished: files that are whole already.
            done: called with a file's name once it is whole and on the disk.

        Raises:
            CompressionError: an input holds NaN or infinity, a tensor overflows its stored type, the disk is full.
        """
        todo = [shard for shard in layout.shards if shard.file not in finished]
        left = sum(self.account.tasks[name].info.num_bytes for shard in todo for name in shard.offsets)
        bar = progress(
            description="merging",
            total=layout.num_bytes,
            initial=layout.num_bytes - left,
            unit="B",
            unit_scale=True,
        )
        self._stop.clear()
        with bar, one_torch_thread(), concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            try:
                # The next shard starts while the last tensors of the one before are still being computed.
                running: list[tuple[ShardFile, list[concurrent.futures.Future[None]]]] = []
                for shard in todo:
                    running.append(self._start(pool, folder, shard, bar))
                    if len(running) > 1:
                        self._finish(*running.pop(0), done)
                for file, futures in running:
                    self._finish(file, futures, done)
            except BaseException:
                self._stop.set()
                raise

    def _start(
        self, pool: concurrent.futures.Executor, folder: Path, shard: Shard, bar: tqdm
    ) -> tuple[ShardFile, list[concurrent.futures.Future[None]]]:
        file = ShardFile(folder, shard)
        # Large tensors first, so that no thread is left alone with one at the end.
        tasks = sorted((self.account.tasks[name] for name in shard.offsets), key=lambda task: -task.num_elements)
        return file, [pool.submit(self._run, task, file, bar) for task in tasks]

    def _finish(self, file: ShardFile, futures: list[concurrent.futures.Future[None]], done: Callable[[str], None]) -> None:
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        except BaseException:
            self._stop.set()
            concurrent.futures.wait(futures)  # nobody writes to a closed file
            file.close()
            raise
        file.close()
        done(file.shard.file)

    def _run(self, task: TensorTask, file: ShardFile, bar: tqdm) -> None:
        for start, values in self.compute(task):
            if self._stop.is_set():
                return
            file.write(task.name, start, values)
            bar.update(values.numel() * values.element_size())

    def compute(self, task: TensorTask) -> Iterator[tuple[int, Tensor]]:
        """The stored values of one tensor: (first element, values), in order."""
        if task.action == "copy":
            yield from self._copied(task)
            return
        parameters = self.parameters_of(task.name)
        operands = self._operands(task, parameters)
        zeros = None
        if self.sparsity is not None and (task.base is not None or self.sparsity.setting.policy != "base"):
            zeros = self.sparsity.survey(task.name, operands.tensors, operands.base, operands.members)
        parts = self._merged(task, parameters, operands, zeros)
        if self.sparsity is None or zeros is None or not zeros.pruned:
            yield from parts
        elif self.sparsity.needs_whole(zeros):
            whole = torch.cat([values.reshape(-1) for _, values in parts])
            yield 0, self.sparsity.finish(zeros, whole)
        else:
            count = 0
            for start, values in parts:
                count += count_zeros(values)
                yield start, values
            self.sparsity.note(zeros, count)

    def _merged(
        self, task: TensorTask, parameters: Parameters, operands: Operands, zeros: TensorZeros | None
    ) -> Iterator[tuple[int, Tensor]]:
        """Merged, checked and cast, part by part."""
        method = parameters.method
        with self._naming_files(task, operands):
            survey = method.survey(operands)
        for part in (operands,) if method.whole else operands.chunks():
            if not method.propagates:
                self._check_finite(task, part)
            moved = part if self.device.type == "cpu" else part.to(self.device)
            with self._naming_files(task, operands):
                merged = method.merge(moved, survey)
            if self.sparsity is not None and zeros is not None:
                merged = self.sparsity.apply(zeros, merged, moved.tensors, moved.base)
            stored = merged.to(device="cpu", dtype=task.info.dtype)
            if not _is_finite(stored):
                self._check_finite(task, operands)  # all of it, as one NaN spoils a norm and so every chunk
                dtype = str(task.info.dtype).removeprefix("torch.")
                raise CompressionError(
                    f"{task.name}: merged values overflow {dtype}; lower the weights, or store with dtype: float32"
                )
            if task.name.endswith(_VARIANCES) and bool((stored < 0).any()):
                raise CompressionError(
                    f"{task.name}: the merged variance is negative in places, and BatchNorm takes its root; copy one"
                    f" input's with take: {{'re:.*running_(mean|var)': <member>}}, then update_batch_norm() on data"
                )
            yield part.offset, stored

    def _copied(self, task: TensorTask) -> Iterator[tuple[int, Tensor]]:
        flat = self._read(task.sources[0]).reshape(-1)
        for start in range(0, max(flat.numel(), 1), CHUNK):
            yield start, flat[start : start + CHUNK].to(task.info.dtype)

    def _operands(self, task: TensorTask, parameters: Parameters) -> Operands:
        labels = tuple(label for label, _ in task.sources)
        statistics = {}
        for need, by_label in self.statistics.items():
            found = [(by_label[label], name) for label, name in task.sources if label in by_label]
            if len(found) == len(labels) and all(name in source.infos for source, name in found):
                statistics[need] = tuple(source.read(name) for source, name in found)
        return Operands(
            name=task.name,
            members=labels,
            tensors=tuple(self._read(place, task.convert) for place in task.sources),
            base=None if task.base is None else self._read(task.base, task.convert),
            values=parameters.values,
            statistics=statistics,
            seed=self.seed,
            num_elements=task.num_elements,
        )

    def _read(self, place: Location, dtype: torch.dtype | None = None) -> Tensor:
        """As it is stored and mapped; a copy where the type is another."""
        return self.sources[place[0]].read(place[1]).to(dtype=dtype)

    @contextlib.contextmanager
    def _naming_files(self, task: TensorTask, operands: Operands) -> Iterator[None]:
        """A method that stumbles over NaN knows no files."""
        try:
            yield
        except CompressionError:
            self._check_finite(task, operands)
            raise

    def _check_finite(self, task: TensorTask, operands: Operands) -> None:
        """A sum is finite only if every term is; it reads the chunk once, while it comes into the cache anyway."""
        places = [*task.sources, *([task.base] if task.base else [])]
        tensors = [*operands.tensors, *([operands.base] if operands.base is not None else [])]
        for (label, name), tensor in zip(places, tensors, strict=True):
            if not _is_finite(tensor):
                source = self.sources[label]
                raise CompressionError(
                    f"{name} of {label} ({source.place}) holds NaN or infinity; a merge would spread it: mend or leave out"
                    f" that {'model' if label == BASE else 'member'}"
                )
        for need, found in operands.statistics.items():
            for label, tensor in zip(operands.members, found, strict=True):
                if not _is_finite(tensor):
                    place = self.statistics[need][label].place
                    raise CompressionError(
                        f"{task.name} of the statistics {need} of {label} ({place}) holds NaN or infinity; collect them"
                        " again"
                    )


def _is_finite(tensor: Tensor) -> bool:
    total = tensor.sum(dtype=torch.float64 if tensor.dtype == torch.float64 else torch.float32)
    # Huge but finite values can overflow the sum itself; only then each element is looked at.
    return bool(torch.isfinite(total)) or bool(torch.isfinite(tensor).all())
