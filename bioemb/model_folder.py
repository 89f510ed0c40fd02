"""Model folders in the sentence-transformers layout: what they say of pooling, normalisation, prompts and length.

Read: the layout of every version up to 6.x. Written: the older key names, which sentence-transformers,
text-embeddings-inference and vLLM all understand. No weights are touched here.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bioemb.errors import ModelError
from bioemb.files import hash_file, write_json

# Pooling names: ours, the flag of the older layout; the newer layout says `pooling_mode: <name>`.
OLD_POOLING_KEYS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "last": "pooling_mode_lasttoken",
}
UNKNOWN_POOLING_KEYS = ("pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens")
NEW_POOLING_NAMES = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last"}
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)  # each of which makes a tokenizer
TOKENIZER_PARTS = ("merges.txt", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json")
DOT_PRODUCT = ("dot", "dot_score")
LENGTH_FILES = "sentence_*_config.json"  # sentence_bert_config.json; older folders name other backbones
HASHED_FILES = (
    "*.safetensors",
    "model.safetensors.index.json",
    "config.json",
    *TOKENIZER_FILES,
    *TOKENIZER_PARTS,
    "modules.json",
    LENGTH_FILES,
    "config_sentence_transformers.json",
)
HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.py")


@dataclass(frozen=True)
class Layout:
    """What a model folder says of itself; None where it says nothing.

    normalize: vectors have length 1. So do those of a folder without a Normalize module that compares them by cosine,
    so that the product of two vectors is always the model's own similarity.
    """

    backbone: Path
    pooling: str | None = None
    normalize: bool | None = None
    max_length: int | None = None
    lower_case: bool = False
    prompts: dict[str, str] = field(default_factory=dict)  # by "query" and "passage"


def find_folder(path_or_name: str | Path) -> Path:
    """The local folder of a model, fetched from the hub when the name is not a folder. Raises ModelError."""
    path, name = Path(path_or_name).expanduser(), str(path_or_name)
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{name} is a file; a model is a folder with config.json and model.safetensors")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith("/"):
        raise ModelError(f"there is no model folder {name}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{name} is neither a folder here nor to be had from the hub ({reason})") from None


def read_layout(folder: Path) -> Layout:
    """What the folder's files say; a plain transformers folder says nothing. Raises ModelError."""
    if not (folder / "modules.json").exists():
        require_model_files(folder)
        return Layout(folder)
    modules = {module["type"].rsplit(".", 1)[-1]: folder / module["path"] for module in _read_modules(folder)}
    unknown = set(modules) - {"Transformer", "Pooling", "Normalize"}
    if unknown or "Transformer" not in modules:
        raise ModelError(f"{folder}: modules.json names {sorted(modules)}; known are Transformer, Pooling, Normalize")
    require_model_files(modules["Transformer"])
    settings = next((_read_object(path) for path in sorted(modules["Transformer"].glob(LENGTH_FILES))), {})
    said = _read_object(folder / "config_sentence_transformers.json")
    prompts = _read_prompts(said, folder)
    return Layout(
        backbone=modules["Transformer"],
        pooling=_read_pooling(modules["Pooling"] / "config.json", prompts) if "Pooling" in modules else None,
        normalize="Normalize" in modules or said.get("similarity_fn_name") not in DOT_PRODUCT,
        max_length=_read_length(settings, modules["Transformer"]),
        lower_case=bool(settings.get("do_lower_case")),
        prompts={
            "query": prompts.get("query") or "",
            "passage": prompts.get("document") or prompts.get("passage") or "",
        },
    )


def write_layout(folder: Path, layout: Layout, width: int) -> None:
    """Add to a saved transformers folder the files that say how its vectors are made; `width` is their length."""
    library = "sentence_transformers.models."
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + [("2_Normalize", "Normalize")] * bool(layout.normalize)
    write_json(
        folder / "modules.json",
        [{"idx": i, "name": str(i), "path": path, "type": library + kind} for i, (path, kind) in enumerate(modules)],
    )
    for path, _ in modules:
        (folder / path).mkdir(exist_ok=True)
    flags = {key: name == layout.pooling for name, key in OLD_POOLING_KEYS.items()}
    flags |= dict.fromkeys(UNKNOWN_POOLING_KEYS, False)
    write_json(
        folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **flags, "include_prompt": True}
    )
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": layout.max_length, "do_lower_case": layout.lower_case},
    )
    prompts = {"query": layout.prompts.get("query", ""), "document": layout.prompts.get("passage", "")}
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "__version__": {"sentence_transformers": "3.0.0"},
            "model_type": "SentenceTransformer",
            "prompts": prompts,
            "default_prompt_name": None,
            "similarity_fn_name": "cosine" if layout.normalize else "dot",
        },
    )


def list_model_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """The files with these names (or patterns) that are the model's own: in its folder and its modules' folders."""
    folders = {folder, *(folder / module["path"] for module in _read_modules(folder))}  # checkpoints are none of it
    return sorted({path for part in folders for name in names for path in part.glob(name)})


def weights_hash(folder: Path) -> str:
    """32 hexadecimal digits that change with the weights, the tokenizer or the way that vectors are made."""
    digest = hashlib.blake2b(digest_size=16)
    for path in list_model_files(folder, HASHED_FILES):
        digest.update(f"{path.relative_to(folder).as_posix()} {hash_file(path)}\n".encode())
    return digest.hexdigest()


def _read_modules(folder: Path) -> list[dict[str, str]]:
    """The entries of modules.json, none where it is absent. Raises ModelError for another shape."""
    path = folder / "modules.json"
    modules = _read_json(path) if path.exists() else []
    is_known = isinstance(modules, list) and all(
        isinstance(module, dict) and all(isinstance(module.get(key), str) for key in ("path", "type"))
        for module in modules
    )
    if not is_known:
        raise ModelError(f"{path}: expected a list of modules, each with 'type' and 'path'")
    for module in modules:
        if Path(module["path"]).is_absolute() or ".." in Path(module["path"]).parts:
            raise ModelError(f"{path}: the module {module['path']} does not lie inside the model's folder")
    return modules


def require_model_files(folder: Path) -> None:
    if not (folder / "config.json").exists():
        raise ModelError(f"{folder} has no config.json, so it is not a model folder")
    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        raise ModelError(
            f"{folder} has no tokenizer (none of {', '.join(TOKENIZER_FILES)}); save the model's own there"
        )
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} has no .safetensors weights; pickled ones (.bin) are never loaded because they can run code: "
            "convert them once, where you trust them, with save_pretrained of transformers"
        )


def _read_pooling(path: Path, prompts: dict[str, str]) -> str:
    config = _read_object(path)
    if config.get("include_prompt") is False and any(prompts.values()):
        raise ModelError(f"{path}: include_prompt is false; pooling that leaves the prompt out is not supported")
    if "pooling_mode" in config:
        modes = config["pooling_mode"] if isinstance(config["pooling_mode"], list) else [config["pooling_mode"]]
        chosen = [NEW_POOLING_NAMES.get(mode) if isinstance(mode, str) else None for mode in modes]
    else:
        unknown = any(config.get(key) for key in UNKNOWN_POOLING_KEYS)
        chosen = [] if unknown else [name for name, key in OLD_POOLING_KEYS.items() if config.get(key)]
    if len(chosen) != 1 or chosen[0] is None:
        raise ModelError(f"{path}: expected one way of pooling, of {', '.join(OLD_POOLING_KEYS)}; found another")
    return chosen[0]


def _read_prompts(said: dict[str, Any], folder: Path) -> dict[str, str]:
    prompts = said.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(text is None or isinstance(text, str) for text in prompts.values()):
        raise ModelError(
            f"{folder / 'config_sentence_transformers.json'}: expected a text under each name of 'prompts', found "
            f"{str(prompts)[:80]}"
        )
    return prompts


def _read_length(settings: dict[str, Any], folder: Path) -> int | None:
    length = settings.get("max_seq_length")
    if length is None or isinstance(length, int) and not isinstance(length, bool) and length > 2:
        return length
    raise ModelError(f"{folder}: max_seq_length is {length!r}; expected a whole number of tokens, above 2")


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object, empty where the file is absent."""
    value = _read_json(path) if path.exists() else {}
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object, got a {type(value).__name__}")
    return value


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
