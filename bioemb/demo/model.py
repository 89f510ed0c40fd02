"""A small fresh encoder: a WordPiece vocabulary of the given texts, a small BERT, a short warm-up without labels.

The warm-up pulls two pieces of the same text together (Contriever's cropping, arXiv 2112.09118). It never sees which
title belongs to which abstract; what it learns is which words occur together. A fair start, not a language model.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer, Tokenizer
from transformers import BertConfig, BertModel, BertTokenizerFast, get_cosine_schedule_with_warmup
from transformers.utils.logging import disable_progress_bar

from bioemb.encoder import Encoder
from bioemb.errors import ConfigError
from bioemb.losses import InfoNCE
from bioemb.model_folder import Layout

VOCABULARY = 6000  # pieces, at most
SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WIDTH, LAYERS, HEADS = 128, 2, 2
MAX_LENGTH = 256  # tokens
CROP = 32  # tokens; a text of fewer than two crops is not used in the warm-up
BATCH, LEARNING_RATE, TEMPERATURE = 64, 2e-3, 0.05


def write_starting_encoder(folder: str | Path, texts: Sequence[str], seed: int = 0, warm_up_steps: int = 120) -> None:
    """Train the vocabulary, build the encoder, warm it up and save it with mean pooling; the seed decides all of it.

    Raises ConfigError when no text is long enough for the warm-up.
    """
    tokenizer = train_tokenizer(texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = BertModel(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                num_hidden_layers=LAYERS,
                num_attention_heads=HEADS,
                intermediate_size=4 * WIDTH,
                max_position_embeddings=MAX_LENGTH,
                hidden_dropout_prob=0.0,  # dropout makes a step on the CPU four times as long
                attention_probs_dropout_prob=0.0,
            )
        )
        layout = Layout(Path(folder), pooling="mean", normalize=True, max_length=MAX_LENGTH)
        encoder = Encoder(backbone, tokenizer, layout)
        warm_up(encoder, texts, warm_up_steps)
    disable_progress_bar()  # of one shard
    encoder.eval().save(folder)


def train_tokenizer(texts: Sequence[str]) -> BertTokenizerFast:
    """A lower-casing WordPiece tokenizer of the words of the texts; the same texts give the same pieces."""
    pieces = BertWordPieceTokenizer(lowercase=True)
    letters = sorted(set("".join(map(pieces.normalizer.normalize_str, texts))) - set(" "))
    # The trainer numbers letters within words in the order of a random hash, and ties depend on the numbers; pieces
    # that are given are numbered as given. They are given as special ones, so only the vocabulary is kept of it.
    given = [*SPECIAL_PIECES, *letters, *(f"##{letter}" for letter in letters)]
    pieces.train_from_iterator(texts, VOCABULARY, min_frequency=2, special_tokens=given, show_progress=False)
    trained = BertWordPieceTokenizer(pieces.get_vocab(), lowercase=True)
    return BertTokenizerFast(tokenizer_object=Tokenizer.from_str(trained.to_str()), model_max_length=MAX_LENGTH)


def warm_up(encoder: Encoder, texts: Sequence[str], steps: int) -> None:
    """So many steps that pull together a crop of a text's first half and one of its second."""
    tokenized = [ids[1:-1] for ids in encoder.token_ids(texts, None)]
    tokenized = [ids for ids in tokenized if len(ids) >= 2 * CROP]
    if not tokenized:
        raise ConfigError(f"none of the {len(texts)} texts has {2 * CROP} tokens; give the abstracts too")
    loss = InfoNCE(TEMPERATURE)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    encoder.train()
    for _ in range(steps):
        rows = [tokenized[row] for row in torch.randint(len(tokenized), (BATCH,))]
        first, second = encoder(
            encoder.pad([_crop(ids[: len(ids) // 2], encoder.tokenizer) for ids in rows]),
            encoder.pad([_crop(ids[len(ids) // 2 :], encoder.tokenizer) for ids in rows]),
        )
        optimizer.zero_grad()
        loss(first, second).backward()
        optimizer.step()
        schedule.step()


def _crop(ids: list[int], tokenizer: BertTokenizerFast) -> list[int]:
    """CROP neighbouring ids from a random place, between the special tokens."""
    start = int(torch.randint(len(ids) - CROP + 1, ()))
    return [tokenizer.cls_token_id, *ids[start : start + CROP], tokenizer.sep_token_id]
