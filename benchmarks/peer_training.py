"""The peers' own trainers, made as their users make them, on rows {"query","pos","neg"}."""

import json
from pathlib import Path
from typing import NamedTuple

QUIET = {"use_cpu": True, "save_strategy": "no", "report_to": "none", "disable_tqdm": True}  # of transformers' trainers


class Training(NamedTuple):
    """What is trained on what; each row has `group` less one negatives at least, of which the first ones are taken."""

    model: Path
    rows: Path
    group: int
    query_tokens: int
    passage_tokens: int
    temperature: float
    others: tuple[Path, ...] = ()  # more files of rows; a batch is of one file


def flag_embedding_trainer(training: Training, settings: dict):
    """FlagEmbedding's on the CPU, with mean pooling; settings: what else its arguments are to say."""
    from FlagEmbedding.finetune.embedder.encoder_only.base import (
        EncoderOnlyEmbedderDataArguments,
        EncoderOnlyEmbedderModelArguments,
        EncoderOnlyEmbedderRunner,
        EncoderOnlyEmbedderTrainingArguments,
    )

    runner = EncoderOnlyEmbedderRunner(
        EncoderOnlyEmbedderModelArguments(str(training.model)),
        EncoderOnlyEmbedderDataArguments(
            train_data=[str(path) for path in (training.rows, *training.others)],
            same_dataset_within_batch=bool(training.others),
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


def sentence_transformers_trainer(training: Training, settings: dict, mini_batch_size: int | None = None):
    """sentence-transformers' on the CPU, with its plain loss or, with a mini-batch, the cached one.

    It has one length for both sides, the passages'; hardly a title is longer than a query may be.
    """
    from datasets import Dataset, DatasetDict
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer import losses

    model = SentenceTransformer(str(training.model), device="cpu")
    model.max_seq_length = training.passage_tokens
    scale = 1 / training.temperature
    loss = (
        losses.CachedMultipleNegativesRankingLoss(model, scale=scale, mini_batch_size=mini_batch_size)
        if mini_batch_size
        else losses.MultipleNegativesRankingLoss(model, scale=scale)
    )
    datasets = {}
    for path in (training.rows, *training.others):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        columns = {"anchor": [row["query"] for row in rows], "positive": [row["pos"][0] for row in rows]}
        for place in range(training.group - 1):
            columns[f"negative_{place + 1}"] = [row["neg"][place] for row in rows]
        datasets[path.stem] = Dataset.from_dict(columns)
    data = DatasetDict(datasets) if training.others else datasets[training.rows.stem]
    arguments = SentenceTransformerTrainingArguments(**QUIET, **settings)
    return SentenceTransformerTrainer(model, arguments, train_dataset=data, loss=loss)
