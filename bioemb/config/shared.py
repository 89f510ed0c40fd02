"""What several commands say alike."""

POOLING_CHOICES = ("auto", "cls", "mean", "last", "last_token", "max")
MAX_LENGTH = "longest text in tokens; longer ones are cut (default: the model's own)"
RERANKER_MAX_LENGTH = "query and passage together, in tokens; longer ones are cut (default: the model's own)"
