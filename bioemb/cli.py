"""The commands: `bioemb <command> [flags]`. Errors of the user's making are one line and exit 2, interruptions 130."""

import errno
import importlib
import os
import sys

from bioemb import __version__, config
from bioemb.errors import BioembError
from bioemb.flags import nearest, parse
from bioemb.log import configure_logging, is_first_process
from bioemb.process_settings import settle, termination_as_interruption
from bioemb.stages import STAGES

CANNOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOSPC)
COMMANDS = {
    "download": (config.DownloadConfig, "bioemb.stages.download"),
    **STAGES,
    "compare": (config.CompareConfig, "bioemb.stages.compare"),
    "average": (config.AverageConfig, "bioemb.stages.average"),
    "export": (config.ExportConfig, "bioemb.stages.export"),
    "inspect": (config.InspectConfig, "bioemb.stages.inspect"),
    "search": (config.SearchConfig, "bioemb.stages.search"),
    "push": (config.PushConfig, "bioemb.stages.push"),
    "run": (config.RunConfig, "bioemb.stages.run"),
    "demo": (config.DemoConfig, "bioemb.stages.demo"),
}


def main(words: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = sys.argv[1:] if words is None else words
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    if words[0] == "--version":
        print(f"bioemb {__version__}")
        return 0
    if words[0] not in COMMANDS:
        print(
            f"bioemb: unknown command {words[0]!r}{nearest(words[0], COMMANDS)} (see `bioemb --help`)", file=sys.stderr
        )
        return 2
    return run_command(words[0], words[1:], f"bioemb {words[0]}")


def run_command(command: str, words: list[str], program: str) -> int:
    """Parse the words, run the command, print its result to stdout; the exit code."""
    settle()
    configure_logging()
    config_class, module = COMMANDS[command]
    try:
        settings = parse(config_class, words, program)
        with termination_as_interruption():
            summary = importlib.import_module(module).run(settings)
        if summary and is_first_process():
            print(summary)
    except BioembError as error:
        return complain(program, error, str(error))
    except OSError as error:
        if error.errno not in CANNOT_WRITE or error.filename is None:
            raise
        return complain(program, error, f"cannot write {error.filename}: {error.strerror}")
    except KeyboardInterrupt as interruption:
        if is_first_process():
            print(f"{program}: {str(interruption) or 'interrupted'}; run it again to go on", file=sys.stderr)
        return 130
    return 0


def complain(program: str, error: Exception, words: str) -> int:
    """Say what a user can put right, once where several processes raised the same error; the exit code."""

    def say() -> None:
        print(f"{program}: {words}", file=sys.stderr, flush=True)

    if getattr(error, "is_shared", False):
        if is_first_process():
            say()
    elif os.environ.get("WORLD_SIZE", "1") == "1":
        say()
    else:
        from bioemb.processes import say_once  # here: it loads torch

        say_once(words, say)
    return 2


def usage() -> str:
    """The commands with a line each."""
    lines = [f"  {name:<10} {config_class.__doc__.splitlines()[0]}" for name, (config_class, _) in COMMANDS.items()]
    return (
        "usage: bioemb COMMAND [flags]\n\nFrom raw PubMed to an evaluated biomedical text-embedding model.\n\n"
        + "\n".join(lines)
        + "\n\nEach takes --help, and --config FILE with its flags as YAML. Training on several processes:\n"
        "accelerate launch train.py [flags] (or torchrun --nproc_per_node N train.py [flags])."
    )
