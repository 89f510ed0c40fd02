"""A plain transformers folder with a tiny BERT and a WordPiece vocabulary: made in a moment, the same every time.

`SENTENCES` are texts that it knows the words of; of lopsided lengths, from one word to more than it takes.
"""

import re
from collections import Counter
from pathlib import Path

SENTENCES = [
    "Aspirin.",
    "Metformin lowers fasting glucose in adults with type 2 diabetes.",
    "A randomised trial of low-dose aspirin in women at high risk of preeclampsia",
    "BRCA1 mutations and the risk of breast and ovarian cancer: a cohort study of 1,234 families.",
    "Statins reduce cardiovascular events",
    "Insulin resistance precedes type 2 diabetes by years, and weight loss restores insulin sensitivity.",
    "Vancomycin-resistant enterococci were isolated from 12 % of the patients in intensive care.",
    "We report a case of thyroid storm after contrast imaging.",
    "Background: sepsis is a leading cause of death. Methods: we followed 8,412 patients with sepsis in 31 hospitals "
    "for 90 days. Results: early antibiotics lowered mortality (odds ratio 0.71). Conclusions: time matters.",
    "Mice",
    "Loss of the tumour suppressor p53 in mice accelerates lymphoma and shortens survival",
    "Screening mammography and mortality from breast cancer in women aged 40 to 49 years.",
    "Deep brain stimulation for Parkinson's disease improves motor function but not gait",
    "Long-term effects of metformin on weight, glucose and mortality in adults without diabetes: a meta-analysis.",
]
MAX_LENGTH = 40  # tokens; the longest sentence has more
WIDTH = 32


def vocabulary(texts: list[str]) -> list[str]:
    """Special tokens, characters, words that are short or occur twice, and halves of the longer ones."""
    characters = sorted({character for text in texts for character in text.lower() if not character.isspace()})
    words = Counter(word for text in texts for word in re.findall(r"\w+", text.lower()))
    whole = sorted(word for word, count in words.items() if count > 1 or len(word) < 7)
    halves = sorted({half for word in words for half in (word[: len(word) // 2], f"##{word[len(word) // 2 :]}")})
    inside = [f"##{character}" for character in characters]
    return list(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *inside, *whole, *halves]))


def write_tiny_encoder(folder: str | Path, seed: int = 0, max_length: int = MAX_LENGTH) -> Path:
    """Save a 2-layer, 32-wide BERT with random weights; `seed` decides them. Returns the folder."""
    from transformers import BertModel

    return _save(folder, BertModel, seed, max_length)


def write_tiny_cross_encoder(folder: str | Path, seed: int = 0, labels: int = 1, max_length: int = MAX_LENGTH) -> Path:
    """Save the same BERT with a head that scores pairs of texts. Returns the folder."""
    from transformers import BertForSequenceClassification

    return _save(folder, BertForSequenceClassification, seed, max_length, num_labels=labels)


def _save(folder: str | Path, model_class: type, seed: int, max_length: int, **settings: int) -> Path:
    import torch
    from tokenizers import BertWordPieceTokenizer, Tokenizer
    from transformers import BertConfig, BertTokenizerFast

    pieces = vocabulary(SENTENCES)
    word_pieces = BertWordPieceTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, lowercase=True)
    tokenizer = BertTokenizerFast(
        tokenizer_object=Tokenizer.from_str(word_pieces.to_str()), model_max_length=max_length
    )
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=max_length,
        initializer_range=0.3,  # large, so that texts are far apart
        **settings,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model_class(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)
