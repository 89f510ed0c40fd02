"""From an evaluation that has ended into the cards of the models that bioemb trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bioemb.errors import ConfigError
from bioemb.evaluation.card import evaluation_section, model_index
from bioemb.evaluation.scores import TaskScore
from bioemb.files import write_aside
from bioemb.log import logger
from bioemb.model_card import EVALUATION, TAGS, is_ours, with_metadata, with_section

if TYPE_CHECKING:
    from mteb import AbsTask


def update_card(
    folder: Path, scores: Sequence[TaskScore], others: Mapping[str, Sequence[TaskScore]], tasks: "Sequence[AbsTask]"
) -> None:
    """Write the scores into README.md of a model folder, where that is a card of ours; nothing else in it changes.

    others: the scores of the models that it was compared with. What an earlier evaluation wrote is replaced. A card of
    others is left alone, with a word, and so is one that cannot be written, with a warning: the scores are kept anyway.
    """
    path = folder / "README.md"
    try:
        card = path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        logger.warning("%s: left alone, it cannot be read as UTF-8: %s", path, error)
        return
    if not is_ours(card):
        if path.is_file():
            logger.info("%s: left alone, no card of bioemb's (no tag %r in its metadata)", path, TAGS[0])
        return
    card = with_section(card, EVALUATION, evaluation_section(scores, others))
    card = with_metadata(card, "model-index", model_index(folder.resolve().name, scores, tasks))
    try:
        with write_aside(path) as out:
            out.write(card)
    except (ConfigError, OSError) as error:
        logger.warning("the scores are not in the model's card (--update_card no leaves it alone): %s", error)
        return
    logger.info("%s: has the scores now", path)
