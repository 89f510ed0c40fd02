"""Train under DeepSpeed's engine on gloo processes, one case after the other.

torchrun --nproc_per_node 2 tests/deepspeed_training.py FOLDER ENCODER CASES

CASES: JSON, {name: [DeepSpeed's configuration, the run's settings]}; each trains into FOLDER/name.
"""

import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

from accelerate import Accelerator, PartialState  # noqa: E402
from accelerate.state import AcceleratorState  # noqa: E402
from accelerate.utils import DeepSpeedPlugin  # noqa: E402
from training_runs import small_run  # noqa: E402

from bioemb.config import TrainConfig  # noqa: E402
from bioemb.stages import train  # noqa: E402


def accelerator_with(settings: dict):
    """accelerate's accelerator under DeepSpeed, which it makes for several processes on GPUs only."""

    def make_accelerator(config: TrainConfig) -> Accelerator:
        PartialState(cpu=True)
        AcceleratorState._reset_state()
        precision = "bf16" if config.bf16 else "no"
        accelerator = Accelerator(mixed_precision=precision, deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=settings))
        accelerator.end_training = lambda: None  # the next case needs the processes' connections
        return accelerator

    return make_accelerator


if __name__ == "__main__":
    folder, encoder = map(Path, sys.argv[1:3])
    common = replace(small_run(folder, encoder), per_device_train_batch_size=2, negatives_cross_device=True)
    for name, (settings, changes) in json.loads(sys.argv[3]).items():
        train.make_accelerator = accelerator_with(settings)
        train.run(replace(common, output_dir=str(folder / name), **changes))
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)
