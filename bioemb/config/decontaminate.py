"""The settings of `bioemb decontaminate`."""

from dataclasses import dataclass

from bioemb.errors import ConfigError
from bioemb.flags import flag

SIDES = ("queries", "texts", "documents")


@dataclass(frozen=True)
class DecontaminateConfig:
    """Drop what repeats an evaluation's texts from training data, and report what else of them it holds.

    A training text meets an evaluation text where their words are the same (case and signs apart), where the whole of
    one, at least 8 words, stands in the other, or where most of one, at least 20 words, does (--overlap). A row goes
    with its query or document, sentence1 or sentence2; of pos and neg only the text goes, and the row where no pos is
    left. Documents are reported alone unless --drop names them: a corpus is no secret, its queries' answers are.
    """

    train_data: tuple[str, ...] = flag(
        "pairs, examples or scored pairs: .json, .jsonl (.gz, .zst), .parquet, or folders", output=False
    )
    output_file: str = flag("what is left of them, as JSON lines (.gz, .zst)", output=False)
    task: tuple[str, ...] = flag(
        "mteb task names, names of --local_data, or `bioemb-medical` (default: all of --local_data)",
        (),
        also=("tasks",),
        output=False,
    )
    local_data: str | None = flag(
        "folder with TASK.jsonl (STS) or TASK/corpus.jsonl, queries.jsonl, qrels/test.tsv", None, output=False
    )
    drop: tuple[str, ...] = flag(
        "sides whose texts must not be in the output: queries, texts (of sentence pairs, clusters, classes), "
        "documents; or nothing, to report only",
        ("queries", "texts"),
        choices=(*SIDES, "nothing"),
    )
    overlap: float = flag(
        "share of the shorter text's runs of 5 words that the longer one must have, above 0 to 1 (whole)", 0.5
    )
    overwrite: bool = flag(
        "replace an output that was made otherwise; findings that still hold are used again", False, output=False
    )

    def __post_init__(self):
        if not self.task and self.local_data is None:
            raise ConfigError(
                "which evaluation? name its tasks (--task BIOSSES NFCorpus) or a folder (--local_data DIR)"
            )
        if not 0 < self.overlap <= 1:
            raise ConfigError(f"overlap is {self.overlap}; it is a share above 0, at most 1 (the whole shorter text)")
        if "nothing" in self.drop and len(self.drop) > 1:
            raise ConfigError(f"drop is {' '.join(self.drop)}; nothing stands alone")
