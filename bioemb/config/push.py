"""The settings of `bioemb push`."""

from dataclasses import dataclass

from bioemb.flags import flag


@dataclass(frozen=True)
class PushConfig:
    """Push a model's folder with its card to the hub, without checkpoints, logs and data."""

    model_path: str = flag("folder of the model")
    repo_id: str = flag("its name on the hub, as `you/model`", also=("hub_model_id",))
    private: bool = flag("make the repository private, and refuse one that is public", True, also=("hub_private_repo",))
