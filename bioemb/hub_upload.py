"""A model's folder to the hub: the model's own files and its card; never checkpoints, logs or data.

The token is huggingface_hub's own (`hf auth login`, or HF_TOKEN); it is never a flag, where others would read it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bioemb.errors import BioembError, ConfigError
from bioemb.model_card import for_hub, is_ours
from bioemb.model_folder import HASHED_FILES, list_model_files, require_model_files

CARD = "README.md"
PUSHED_FILES = (
    *HASHED_FILES,
    "generation_config.json",
    "*.py",  # the code of a model that brings its own
)
EXPORTED = "onnx/*.onnx*"  # what `bioemb export` adds


def check_login(repo_id: str) -> None:
    """Refuse a name that the hub would, and a missing or wrong token, before hours of work. Raises ConfigError."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import validate_repo_id

    with _one_line_errors(repo_id):
        validate_repo_id(repo_id)
        HfApi().whoami()


def push(folder: Path, repo_id: str, *, private: bool) -> str:
    """Put a model into its repository, which is made where it is missing, in one commit; returns its address.

    private: make it private, and refuse one that is there and is not. Raises ConfigError, ModelError, BioembError.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    require_model_files(folder)
    own = [*list_model_files(folder, PUSHED_FILES), *folder.glob(EXPORTED)]
    files = {path.relative_to(folder).as_posix(): str(path) for path in own}
    contents = {**files, **_card(folder, repo_id)}
    check_login(repo_id)  # without a token the hub would speak of a wrong one
    with _one_line_errors(repo_id):
        api = HfApi()
        found = api.create_repo(repo_id, private=private, exist_ok=True)
        if private and not api.model_info(found.repo_id).private:
            raise ConfigError(f"{found.repo_id} is public; make it private there first, or push with --private no")
        added = [CommitOperationAdd(name, content) for name, content in sorted(contents.items())]
        api.create_commit(found.repo_id, added, commit_message="Push the model with bioemb")
    return str(found)


def _card(folder: Path, repo_id: str) -> dict[str, bytes]:
    path = folder / CARD
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return {CARD: (for_hub(text, repo_id) if is_ours(text) else text).encode()} if text else {}


@contextmanager
def _one_line_errors(repo_id: str) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    try:
        yield
    except HFValidationError:
        raise ConfigError(f"{repo_id!r} is no name of the hub's; expected `you/model`") from None
    except LocalTokenNotFoundError:
        raise ConfigError("no token for the hub here; run `hf auth login`, or set HF_TOKEN") from None
    except HfHubHTTPError as error:
        raise _refused(repo_id, error) from None
    except (OSError, *HfHubHTTPError.__bases__) as error:  # of the HTTP library, which is another in other versions
        raise BioembError(f"the hub cannot be reached ({_first_line(error)})") from None


def _refused(repo_id: str, error: Exception) -> BioembError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return ConfigError("the hub does not know this token; run `hf auth login` again, or set HF_TOKEN anew")
    if status == 403:
        return ConfigError(f"this token may not write to {repo_id}; take one with write access, or another name")
    return BioembError(f"the hub refuses {repo_id} ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
