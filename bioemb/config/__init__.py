"""The settings of every command: one flat frozen dataclass each; a field is a flag (`flags.py` parses them).

Names are those that the field's users type already; the second name of a flag is its synonym elsewhere.
"""

from bioemb.config.average import AverageConfig
from bioemb.config.compare import CompareConfig
from bioemb.config.decontaminate import DecontaminateConfig
from bioemb.config.demo import DemoConfig
from bioemb.config.download import DownloadConfig
from bioemb.config.evaluate import EvaluateConfig
from bioemb.config.export import ExportConfig
from bioemb.config.extract import ExtractConfig
from bioemb.config.filter import FilterConfig
from bioemb.config.inspect import InspectConfig
from bioemb.config.mine import MineConfig
from bioemb.config.push import PushConfig
from bioemb.config.report import ReportConfig
from bioemb.config.run import RunConfig
from bioemb.config.score import ScoreConfig
from bioemb.config.search import SearchConfig
from bioemb.config.train import TrainConfig

__all__ = [
    "AverageConfig",
    "DecontaminateConfig",
    "CompareConfig",
    "DemoConfig",
    "DownloadConfig",
    "EvaluateConfig",
    "ExportConfig",
    "ExtractConfig",
    "FilterConfig",
    "InspectConfig",
    "MineConfig",
    "PushConfig",
    "ReportConfig",
    "RunConfig",
    "ScoreConfig",
    "SearchConfig",
    "TrainConfig",
]
