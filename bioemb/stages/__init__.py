"""Files in, files out: each stage is a module with `run(config) -> summary`, imported when it is called."""

from bioemb import config

# command: its settings, and the module of its `run`
STAGES = {
    "extract": (config.ExtractConfig, "bioemb.stages.extract"),
    "filter": (config.FilterConfig, "bioemb.stages.filter"),
    "decontaminate": (config.DecontaminateConfig, "bioemb.stages.decontaminate"),
    "mine": (config.MineConfig, "bioemb.stages.mine"),
    "score": (config.ScoreConfig, "bioemb.stages.score"),
    "train": (config.TrainConfig, "bioemb.stages.train"),
    "evaluate": (config.EvaluateConfig, "bioemb.stages.evaluate"),
    "report": (config.ReportConfig, "bioemb.stages.report"),
}
