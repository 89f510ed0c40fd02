"""`bioemb push`: a model's folder in, a repository on the hub out."""

from pathlib import Path

from bioemb.config import PushConfig
from bioemb.errors import ModelError
from bioemb.hub_upload import CARD, push
from bioemb.log import logger


def run(config: PushConfig) -> str:
    """Push; returns the address."""
    folder = Path(config.model_path)
    if not folder.is_dir():
        raise ModelError(f"there is no model folder {folder}")
    if not (folder / CARD).is_file():
        logger.warning("%s has no %s, so the model has no card on the hub", folder, CARD)
    return f"{config.model_path} is at {push(folder, config.repo_id, private=config.private)}"
