"""`python -m bioemb` is `bioemb`, so that `accelerate launch -m bioemb ...` can start it on many processes."""

import sys

from bioemb.cli import main

sys.exit(main())
