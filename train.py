"""The entry for `accelerate launch train.py` and `torchrun train.py`; `--help` lists the flags."""

import sys

from bioemb.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("train", sys.argv[1:], "train.py"))
