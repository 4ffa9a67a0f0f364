"""Where a name leads: to a folder of this machine, to the Hub, or nowhere."""

from pathlib import Path

from hf_compress._errors import CompressionError, reason_of
from hf_compress._paths import expand
from hf_compress.checkpoints.companion_names import download_patterns
from hf_compress.checkpoints.weight_files import holds_program, program_patterns


def is_hub_id(name: str) -> bool:
    """Whether a name is written like one of the Hub, `model` or `owner/model`, and not like a path."""
    return bool(name) and not name.startswith((".", "/", "~")) and name.count("/") <= 1


def written_as_place(name: str) -> str:
    """A name so that nobody takes a folder of this machine for a repository of the Hub: `./name` where it is one."""
    return f"./{name}" if Path(name).is_dir() and is_hub_id(name) else name


def folder_of(name: str, key: str) -> Path | None:
    """The folder that a name means, `~` resolved; None for a Hub id. A folder that is there wins.

    Args:
        name: as the user wrote it.
        key: what a refusal names.

    Raises:
        CompressionError: it is a file, or a path where no folder is.
    """
    if not name:
        raise CompressionError(f"{key}: is empty; name a folder, or a Hub id")
    path = expand(name, key)
    if path.is_dir():
        return path
    if path.is_file():
        raise CompressionError(f"{key}: {name} is a file; name the folder that holds it")
    if not is_hub_id(name):
        raise CompressionError(
            f"{key}: there is no folder {name[:200]!r}; name a folder written by save_pretrained, or a Hub id"
        )
    return None


def resolve_folder(model: str, label: str, revision: str | None = None) -> Path:
    """A local folder as it is; a Hub id as a snapshot of its weights or programs, configs and tokenizer files.

    Args:
        model: a folder or Hub id.
        label: what a refusal names.
        revision: of a Hub id: a commit, tag or branch; None = its main branch.

    Raises:
        CompressionError: there is neither.
    """
    folder = folder_of(model, label)
    if folder is not None:
        return folder
    from huggingface_hub import snapshot_download

    try:
        fetched = Path(snapshot_download(model, revision=revision, allow_patterns=download_patterns()))
        if holds_program(fetched):  # of the same commit, which is the folder's name
            wanted = [*download_patterns(), *program_patterns()]
            fetched = Path(snapshot_download(model, revision=fetched.name, allow_patterns=wanted))
        return fetched
    except Exception as error:  # the Hub client raises many kinds; each means: cannot be had
        reason = reason_of(error, 200)
        raise CompressionError(
            f"{label}: {model!r} is not a local folder, and the Hub could not give it: {reason}"
        ) from error
