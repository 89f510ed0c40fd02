"""FlagEmbedding's own runner and trainer, as its command makes them."""

from pathlib import Path
from typing import NamedTuple


class Training(NamedTuple):
    """What is trained on what."""

    model: Path
    rows: Path
    group: int
    query_tokens: int
    passage_tokens: int
    temperature: float


def flag_embedding_trainer(training: Training, settings: dict):
    """The trainer on the CPU, with mean pooling; settings: what else its arguments are to say."""
    from FlagEmbedding.finetune.embedder.encoder_only.base import (
        EncoderOnlyEmbedderDataArguments,
        EncoderOnlyEmbedderModelArguments,
        EncoderOnlyEmbedderRunner,
        EncoderOnlyEmbedderTrainingArguments,
    )

    runner = EncoderOnlyEmbedderRunner(
        EncoderOnlyEmbedderModelArguments(str(training.model)),
        EncoderOnlyEmbedderDataArguments(
            train_data=[str(training.rows)],
            train_group_size=training.group,
            query_max_len=training.query_tokens,
            passage_max_len=training.passage_tokens,
        ),
        EncoderOnlyEmbedderTrainingArguments(
            **QUIET,
            **settings,
            temperature=training.temperature,
            sentence_pooling_method="mean",
            normalize_embeddings=True,
        ),
    )
    return runner.trainer


QUIET = {"use_cpu": True, "save_strategy": "no", "report_to": "none", "disable_tqdm": True}  # of transformers' trainers
