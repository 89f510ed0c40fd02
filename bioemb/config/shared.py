"""What several commands say alike."""

from bioemb.errors import ConfigError

POOLING_CHOICES = ("auto", "cls", "mean", "last", "last_token", "max")
MAX_LENGTH = "longest text in tokens; longer ones are cut (default: the model's own)"
RERANKER_MAX_LENGTH = "query and passage together, in tokens; longer ones are cut (default: the model's own)"


def require_at_least_one(**settings: int | None) -> None:
    """Refuse counts below 1; None is not one. Raises ConfigError, naming the setting."""
    for name, value in settings.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; expected 1 or more")
