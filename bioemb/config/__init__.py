"""The settings of every command: one flat frozen dataclass each; a field is a flag (`flags.py` parses them).

Names are those that the field's users type already; the second name of a flag is its synonym elsewhere.
"""

from bioemb.config.demo import DemoConfig
from bioemb.config.download import DownloadConfig
from bioemb.config.evaluate import EvaluateConfig
from bioemb.config.extract import ExtractConfig
from bioemb.config.filter import FilterConfig
from bioemb.config.inspect import InspectConfig
from bioemb.config.mine import MineConfig
from bioemb.config.report import ReportConfig
from bioemb.config.run import RunConfig
from bioemb.config.score import ScoreConfig
from bioemb.config.train import TrainConfig

__all__ = [
    "DemoConfig",
    "DownloadConfig",
    "EvaluateConfig",
    "ExtractConfig",
    "FilterConfig",
    "InspectConfig",
    "MineConfig",
    "ReportConfig",
    "RunConfig",
    "ScoreConfig",
    "TrainConfig",
]
