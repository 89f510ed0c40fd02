"""Train with weights that torch's `fully_shard` spreads over gloo processes: what accelerate does on GPUs only.

torchrun --nproc_per_node 2 tests/sharded_training.py FOLDER ENCODER QUERIES ROWS
"""

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

from accelerate import Accelerator  # noqa: E402
from accelerate.optimizer import AcceleratedOptimizer  # noqa: E402
from torch import nn  # noqa: E402
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict  # noqa: E402
from torch.distributed.fsdp import fully_shard  # noqa: E402
from training_runs import small_run  # noqa: E402

from bioemb import run_state, trainer  # noqa: E402
from bioemb.stages import train  # noqa: E402


class ShardingAccelerator(Accelerator):
    """accelerate's FSDP2, where there is no GPU."""

    def prepare(self, encoder: nn.Module, optimizer):
        names = {parameter: name for name, parameter in encoder.named_parameters()}
        groups = [[names[parameter] for parameter in group["params"]] for group in optimizer.param_groups]
        for layer in encoder.backbone.encoder.layer:
            fully_shard(layer)
        fully_shard(encoder)
        shards = dict(encoder.named_parameters())
        for group, own in zip(optimizer.param_groups, groups, strict=True):
            group["params"] = [shards[name] for name in own]
        return encoder, AcceleratedOptimizer(optimizer)

    def get_state_dict(self, model: nn.Module, unwrap: bool = True) -> dict:
        return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


if __name__ == "__main__":
    folder, encoder, queries, rows = *map(Path, sys.argv[1:3]), *map(int, sys.argv[3:])
    config = small_run(folder, encoder, rows)
    config = replace(config, per_device_train_batch_size=queries, negatives_cross_device=True, sub_batch_size=1)
    run_state.SHARDED = trainer.SHARDED = ("MULTI_CPU",)
    train.make_accelerator = lambda config: ShardingAccelerator(cpu=True)
    train.check_sharded = lambda config, accelerator, loss: None
    train.run(replace(config, output_dir=str(folder / "sharded")))
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads of shards on CPUs now and then abort the interpreter while it ends
