"""The settings of every command: one flat frozen dataclass each; a field is a flag (`flags.py` parses them).

Names are those that the field's users type already; the second name of a flag is its synonym elsewhere.
"""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from bioemb.errors import ConfigError
from bioemb.flags import flag
from bioemb.records import PAIR_KINDS

POOLING_CHOICES = ("auto", "cls", "mean", "last", "last_token", "max")
MAX_LENGTH = "longest text in tokens; longer ones are cut (default: the model's own)"


@dataclass(frozen=True)
class ExtractConfig:
    """Make title-abstract, title-passage and abstract-passage pairs from PubMed and PMC XML."""

    input_path: tuple[str, ...] = flag("PubMed or PMC files (.xml, .nxml, .gz) or folders of them", output=False)
    output_file: str = flag("pairs, as JSON lines (.jsonl, .jsonl.gz, .jsonl.zst)", output=False)
    kinds: tuple[str, ...] = flag("kinds of pairs to make", PAIR_KINDS, choices=PAIR_KINDS)
    languages: tuple[str, ...] = flag("languages to keep, ISO 639-2; `all` keeps every language", ("eng",))
    min_title_words: int = flag("shortest title, in words", 3)
    min_abstract_words: int = flag("shortest abstract, in words", 30)
    license: tuple[str, ...] = flag("licences of full texts to keep (`CC BY`, CC0, ...); `all` keeps any", ("all",))
    passages_per_article: int = flag("passages sampled from each full text", 3)
    min_passage_words: int = flag("shortest passage, in words", 60)
    max_passage_words: int = flag("longest passage, in words", 300)
    keep_labels: bool = flag("write the labels of structured abstracts into the text (`METHODS: ...`)", False)
    keep_types: tuple[str, ...] = flag("publication types to keep that are dropped by default (Letter, ...)", ())
    keep_notices: bool = flag("keep records whose titles announce corrections, retractions, replies", False)
    keep_books: bool = flag("keep books and their chapters", False)
    near_duplicates: bool = flag("give articles with almost the same abstract one identity, by MinHash", True)
    near_duplicate_threshold: float = flag("share of equal word triples that makes abstracts near-duplicates", 0.5)
    seed: int = flag("seed of the passage sampling, keyed by article", 0)
    skip_broken_files: bool = flag("count a broken file and go on, instead of stopping at it", False)
    num_proc: int = flag("processes; the output is the same for any number", 1, output=False)
    overwrite: bool = flag("replace an output that was made otherwise", False, output=False)

    def __post_init__(self):
        if not 0 < self.near_duplicate_threshold <= 1:
            raise ConfigError(
                f"near_duplicate_threshold is {self.near_duplicate_threshold}; expected more than 0, at most 1"
            )


@dataclass(frozen=True)
class FilterConfig:
    """Keep the pairs whose two sides a good domain model finds alike (weak-consistency filtering)."""

    model_path: str = flag("model that scores the pairs: a folder or a hub name", output=False)
    folder_path: str = flag("folder (or file) of pairs: .json, .jsonl (.gz, .zst), .parquet", output=False)
    out_file_path: str = flag("kept pairs, as JSON lines", output=False)
    sim_threshold: float = flag("lowest cosine that is kept, from -1 to 1", 0.75)
    key_x: str = flag("key of the document, the longer side", "document")
    key_y: str = flag("key of the query, the shorter side", "query")
    max_length: int | None = flag(MAX_LENGTH, None)
    pooling_method: str = flag("pooling; `auto` reads it from the model folder", "auto", choices=POOLING_CHOICES)
    query_instruction: str | None = flag("text before each query (default: the model's own)", None)
    passage_instruction: str | None = flag("text before each document (default: the model's own)", None)
    batch_tokens: int | None = flag("tokens in a batch (default: 2048 on a CPU, 65536 on a GPU)", None, output=False)
    bf16: bool = flag("compute in bfloat16: faster, the last digits differ", False)
    overwrite: bool = flag(
        "replace an output that was made otherwise; scores that still hold are used again", False, output=False
    )

    def __post_init__(self):
        if not -1 <= self.sim_threshold <= 1:
            raise ConfigError(f"sim_threshold is {self.sim_threshold}; a cosine is from -1 to 1")
        if self.key_x == self.key_y:
            raise ConfigError(f"key_x and key_y are both {self.key_x!r}; they name the two sides of a pair")


@dataclass(frozen=True)
class MineConfig:
    """Find hard negatives for each pair: passages that rank high for its query and are not its positive."""

    WITHOUT_EFFECT: ClassVar[dict[str, str]] = {
        "use_fp16": "say --bf16 for low precision",
        "batch_size": "batches are counted in tokens: --batch_tokens",
        "normalize_embeddings": "scores are cosines always",
        "embedder_model_class": "the model's folder says what it is",
        "devices": "all GPUs that are visible are used (CUDA_VISIBLE_DEVICES)",
        "cache_dir": "set HF_HOME",
        "trust_remote_code": "a model's own code is never run here",
        "examples_for_task": "in-context examples are not supported",
        "examples_instruction_format": "in-context examples are not supported",
    }

    model_name_or_path: str = flag(
        "model that embeds: a folder or a hub name", output=False, also=("embedder_name_or_path",)
    )
    input_file: str = flag('examples {"query","pos",..} or pairs {"query","document",..}', output=False)
    output_file: str = flag('examples {"query","pos":[..],"neg":[..]}, as JSON lines', output=False)
    range_for_sampling: str = flag(
        "ranks to sample from, `first-stop`: 0-based, stop excluded, positives counted", "10-210"
    )
    negative_number: int = flag("negatives for each query", 15)
    candidate_pool: str | None = flag(
        'passages to mine from instead of the input\'s own: {"text": ..} a line', None, output=False
    )
    sampling: str = flag("how to choose within the range", "uniform", choices=("uniform", "top", "simans"))
    relative_margin: float | None = flag("drop above positive - |positive| * this (NV-Retriever: 0.05)", None)
    absolute_margin: float | None = flag("drop above positive - this", None)
    max_score: float | None = flag("drop above this cosine", None)
    min_score: float | None = flag("drop below this cosine", None)
    on_short: str = flag(
        "when too few are left: random fills up, fewer keeps what there is, drop drops the row",
        "random",
        choices=("random", "fewer", "drop"),
    )
    seed: int = flag("seed of the sampling, keyed by the query's text", 0)
    use_gpu_for_searching: bool = flag("search on all GPUs (needs a GPU faiss)", False, output=False)
    index_factory: str = flag("faiss index; Flat is exact", "Flat", also=("faiss_index",))
    query_instruction_for_retrieval: str | None = flag("text before each query (default: the model's own)", None)
    query_instruction_format_for_retrieval: str = flag("how instruction and query are joined", "{}{}")
    passage_instruction: str | None = flag("text before each passage (default: the model's own)", None)
    embedder_query_max_length: int | None = flag(f"query: {MAX_LENGTH}", None)
    embedder_passage_max_length: int | None = flag(f"passage: {MAX_LENGTH}", None)
    pooling_method: str = flag("pooling; `auto` reads it from the model folder", "auto", choices=POOLING_CHOICES)
    batch_tokens: int | None = flag("tokens in a batch (default: 2048 on a CPU, 65536 on a GPU)", None, output=False)
    search_batch_size: int = flag("queries searched at once", 1024, output=False)
    bf16: bool = flag("compute in bfloat16: faster, the last digits differ", False)
    overwrite: bool = flag(
        "replace an output that was made otherwise; vectors that still hold are used again", False, output=False
    )


@dataclass(frozen=True)
class EvaluateConfig:
    """Score models with mteb, on the hub's data or on local files, against a starting model and BM25."""

    model_path: str = flag("model to evaluate: a folder or a hub name", output=False)
    save_folder: str = flag("folder of the results, in mteb's layout", "results", output=False)
    task: tuple[str, ...] = flag(
        "mteb task names, names of --local_data, or `bioemb-medical`", ("BIOSSES",), also=("tasks",)
    )
    local_data: str | None = flag(
        "folder with TASK.jsonl (STS) or TASK/corpus.jsonl, queries.jsonl, qrels/test.tsv", None, output=False
    )
    baseline_model_path: tuple[str, ...] = flag(
        "models to compare with, the first one the starting model", (), output=False
    )
    bm25: bool = flag("also score BM25 on the retrieval tasks", False)
    query_max_len: int | None = flag(f"query: {MAX_LENGTH}", None)
    passage_max_len: int | None = flag(f"passage: {MAX_LENGTH}", None)
    pooling_method: str = flag("pooling; `auto` reads it from each model folder", "auto", choices=POOLING_CHOICES)
    batch_tokens: int | None = flag("tokens in a batch (default: 2048 on a CPU, 65536 on a GPU)", None, output=False)
    bf16: bool = flag("compute in bfloat16: faster, the last digits differ", False)
    overwrite: bool = flag("evaluate again what is in the save folder", False, output=False)


DOWNLOAD_OF = {"pubmed": ("files", "year", "what"), "pmc": ("ids", "ids_file", "license")}  # the flags of one source


@dataclass(frozen=True)
class DownloadConfig:
    """Fetch PubMed files or PMC full texts, each checked by its md5; what is there already is not fetched again."""

    source: str = flag("where from; --source may be left out", choices=tuple(DOWNLOAD_OF), bare=True)
    output_dir: str = flag("folder for the files", output=False)
    files: tuple[str, ...] = flag("PubMed: numbers of files and ranges, as in `1-20 25`, or `all`", ())
    what: str = flag(
        "PubMed: the yearly baseline or the daily update files", "baseline", choices=("baseline", "updatefiles")
    )
    year: int | None = flag("PubMed: year of the files, two digits, as in pubmed26n0001 (default: the newest)", None)
    ids: tuple[str, ...] = flag("PMC: articles, as PMC123 (its latest version) or PMC123.2", ())
    ids_file: str | None = flag("PMC: file with an article a line: text or CSV, also the bucket's inventory", None)
    license: tuple[str, ...] = flag("PMC: licences to fetch (`CC BY`, CC0, ...); `all` fetches any", ("all",))
    connections: int = flag("files fetched at once, at most 16", 3, output=False)
    attempts: int = flag("tries in a row without a new byte, before giving up", 5, output=False)
    timeout: float = flag("seconds without a byte, before a try has failed", 30.0, output=False)
    base_url: str | None = flag("address of a mirror (default: NCBI's server, PMC's bucket)", None, output=False)

    def __post_init__(self):
        for other, names in DOWNLOAD_OF.items():
            given = [name for name in names if getattr(self, name) != getattr(type(self), name)]
            if other != self.source and given:
                raise ConfigError(f"{given[0]} is for {other}, and the source is {self.source}")
        if self.year is not None and not 0 <= self.year <= 99:
            raise ConfigError(f"year is {self.year}; expected its last two digits, 26 for 2026")
        if not 1 <= self.connections <= 16:
            raise ConfigError(f"connections is {self.connections}; expected 1 to 16, the servers are everybody's")
        if self.attempts < 1:
            raise ConfigError(f"attempts is {self.attempts}; expected 1 or more")
        if not 0 < self.timeout < inf:
            raise ConfigError(f"timeout is {self.timeout}; expected more than 0 seconds")
        if self.base_url is not None and not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"base_url is {self.base_url!r}; expected an address that begins with http:// or https://"
            )


@dataclass(frozen=True)
class InspectConfig:
    """Show what files of pairs or examples hold: counts, lengths, years, licences, duplicates, some to read."""

    input_path: tuple[str, ...] = flag(
        "pairs or examples: .json, .jsonl (.gz, .zst), .parquet, or folders; one may stand without --input_path",
        bare=True,
    )
    examples: int = flag("examples to show of each kind, cut to 200 characters", 2)
    json: bool = flag("print one JSON object, for programs", False)

    def __post_init__(self):
        if self.examples < 0:
            raise ConfigError(f"examples is {self.examples}; expected 0 or more")


@dataclass(frozen=True)
class RunConfig:
    """Run every stage that a recipe names, each skipped when its output is complete."""

    recipe: str = flag(
        "YAML file: stages in order, each with its settings; --recipe may be left out", output=False, bare=True
    )
    root: str | None = flag(
        "folder that `{root}` stands for in the recipe (default: the recipe's own `root`)", None, output=False
    )
    until: str | None = flag("stop after this stage", None, output=False)
    overwrite: bool = flag("replace outputs that were made otherwise", False, output=False)


@dataclass(frozen=True)
class DemoConfig:
    """Run the whole path offline on a small generated corpus with a small fresh encoder."""

    output_dir: str = flag("folder for everything the demonstration makes", "demo", output=False)
    records: int = flag("generated PubMed records", 4000)
    seed: int = flag("seed of the corpus, the encoder and the training", 0)
    overwrite: bool = flag("start over", False, output=False)


TRAIN_RANGES = (  # field, lowest, highest
    ("train_group_size", 1, inf),
    ("per_device_train_batch_size", 1, inf),
    ("sub_batch_size", 1, inf),
    ("gradient_accumulation_steps", 1, inf),
    ("max_example_num_per_dataset", 1, inf),
    ("pad_to_multiple_of", 1, inf),
    ("logging_steps", 1, inf),
    ("save_steps", 1, inf),
    ("save_total_limit", 1, inf),
    ("dataloader_num_workers", 0, inf),
    ("seed", 0, inf),
    ("learning_rate", 0, inf),
    ("warmup_steps", 0, inf),
    ("warmup_ratio", 0, 1),
    ("shuffle_ratio", 0, 1),
    ("dropout", 0, 1),
)


@dataclass(frozen=True)
class TrainConfig:
    """Fine-tune an encoder with contrastive learning on {"query","pos","neg"} rows (accelerate launch train.py)."""

    WITHOUT_EFFECT: ClassVar[dict[str, str]] = {
        "do_train": "training is what this command does",
        "config_name": "the model's folder has its configuration",
        "tokenizer_name": "the model's folder has its tokenizer",
        "use_fast_tokenizer": "the model's own tokenizer is used",
        "cache_dir": "set HF_HOME",
        "token": "log in with `hf auth login`",
        "small_threshold": "small files are not merged",
        "drop_threshold": "small files are not dropped",
        "deepspeed": "choose it with `accelerate config`",
        "fsdp": "choose it with `accelerate config`",
        "ddp_find_unused_parameters": "the trainer knows which are used",
        "remove_unused_columns": "columns that are not known are ignored",
        "save_safetensors": "weights are always safetensors",
        "optim": "the optimiser is AdamW",
        "logging_dir": "logs go to the output folder",
        "local_rank": "the launcher says it",
        "group_by_length": "batches do not depend on length",
    }

    output_dir: str = flag("folder of the trained model and its checkpoints", output=False)
    model_name_or_path: str = flag("encoder to start from: a folder or a hub name", output=False)
    train_data: tuple[str, ...] = flag(
        "files or folders of examples (.json, .jsonl, .gz, .zst, .parquet), hub names", output=False
    )
    # groups and texts
    train_group_size: int = flag("passages of a query: its positive and so many less one negatives", 8)
    query_max_len: int = flag("longest query in tokens; longer ones are cut", 32)
    passage_max_len: int = flag("longest passage in tokens; longer ones are cut", 128)
    pad_to_multiple_of: int | None = flag("pad to a multiple of so many tokens", None)
    query_instruction_for_retrieval: str | None = flag("text before each query (default: the model's own)", None)
    query_instruction_format: str = flag("how instruction and query are joined", "{}{}")
    passage_instruction_for_retrieval: str | None = flag("text before each passage (default: the model's own)", None)
    passage_instruction_format: str = flag("how instruction and passage are joined", "{}{}")
    max_example_num_per_dataset: int = flag("most rows taken of each file, at random", 100_000_000)
    same_dataset_within_batch: bool = flag("rows of a batch come from one file", False)
    shuffle_ratio: float = flag("share of positives of over 100 characters whose thirds are shuffled", 0.0)
    # model
    sentence_pooling_method: str = flag(
        "pooling; `auto` reads it from the model folder", "auto", choices=POOLING_CHOICES
    )
    normlized: bool | None = flag(
        "vectors of length 1 (default: as the model folder says, else yes)", None, also=("normalize_embeddings",)
    )
    dropout: float | None = flag(
        "share dropped in training, `none` for the model's own; 0 makes a run independent of the number of processes "
        "and of sub-batches, and faster",
        0.0,
    )
    fix_position_embedding: bool = flag("do not train the position embeddings", False)
    gradient_checkpointing: bool = flag("less memory, a third more work", False)
    trust_remote_code: bool = flag("run code that comes with the model", False)
    # loss
    loss: str = flag("`info_nce`, or your own as module:Class or module:function", "info_nce")
    temperature: float = flag("divides the cosines", 0.02)
    use_inbatch_neg: bool = flag("other queries' passages are negatives", True)
    negatives_cross_device: bool = flag("so are those on the other processes", False)
    knowledge_distillation: bool = flag("also learn from pos_scores and neg_scores", False)
    kd_loss_type: str = flag("how", "kl_div", choices=("kl_div", "m3_kd_loss"))
    use_mrl: bool = flag("Matryoshka: train the first dimensions to stand alone", False)
    mrl_dims: tuple[int, ...] = flag("Matryoshka: the numbers of dimensions", ())
    # steps
    per_device_train_batch_size: int = flag("queries of a process in a step", 8)
    sub_batch_size: int | None = flag(
        "queries whose graph is in memory at once; gradients stay exact (GradCache)", None, output=False
    )
    gradient_accumulation_steps: int = flag(
        "batches of a step; negatives do not cross them: prefer --sub_batch_size", 1
    )
    num_train_epochs: float = flag("passes over the data", 3.0)
    max_steps: int = flag("steps, instead of epochs, when positive", -1)
    dataloader_drop_last: bool = flag("leave out the last batch of an epoch when it is not full", False)
    dataloader_num_workers: int = flag("processes that prepare batches", 0, output=False)
    learning_rate: float = flag("highest learning rate", 2e-5)
    lr_scheduler_type: str = flag("linear, cosine, constant, constant_with_warmup, ... (transformers)", "linear")
    warmup_ratio: float = flag("share of the steps over which the rate rises", 0.0)
    warmup_steps: int = flag("steps over which the rate rises, when positive", 0)
    weight_decay: float = flag("weight decay, not of biases and norms", 0.0)
    adam_beta1: float = flag("AdamW", 0.9)
    adam_beta2: float = flag("AdamW", 0.999)
    adam_epsilon: float = flag("AdamW", 1e-8)
    max_grad_norm: float = flag("the gradient's norm is cut to this; 0 leaves it", 1.0)
    fp16: bool = flag("float16 with loss scaling on a GPU; on a CPU bfloat16 stands in", False)
    bf16: bool = flag("bfloat16 autocast", False)
    seed: int = flag("seed of batches, groups and dropout", 42)
    # watching and keeping
    logging_steps: int = flag("log after so many steps", 10, output=False)
    save_steps: int = flag("write a checkpoint after so many steps", 500, output=False)
    save_total_limit: int | None = flag("most checkpoints kept, the oldest go", None, output=False)
    resume_from_checkpoint: str = flag(
        "auto goes on from the newest checkpoint, no starts over, or a checkpoint's folder", "auto", output=False
    )
    report_to: str = flag("none, or a tracker of accelerate: tensorboard, wandb, ...", "none", output=False)
    cache_path: str | None = flag("folder for the prepared examples (default: beside the output)", None, output=False)
    overwrite_output_dir: bool = flag(
        "replace an output that was made otherwise", False, output=False, also=("overwrite",)
    )

    def __post_init__(self):
        for name, lowest, highest in TRAIN_RANGES:
            value = getattr(self, name)
            if value is not None and not lowest <= value <= highest:
                expected = f"{lowest} or more" if highest == inf else f"from {lowest} to {highest}"
                raise ConfigError(f"{name} is {value}; expected {expected}")
        if not self.temperature > 0:
            raise ConfigError(f"temperature is {self.temperature}; expected more than 0, usually 0.01 to 0.1")
        if self.fp16 and self.bf16:
            raise ConfigError("fp16 and bf16 exclude each other; choose one")
        if self.use_mrl != bool(self.mrl_dims):
            raise ConfigError(
                "use_mrl and mrl_dims go together: name the dimensions, for example --mrl_dims 64 128 256"
            )
        if not self.max_steps > 0 and not self.num_train_epochs > 0:
            raise ConfigError("neither num_train_epochs nor max_steps is positive, so there is nothing to train")
        if self.negatives_cross_device and not self.use_inbatch_neg:
            raise ConfigError("negatives_cross_device needs the batch's negatives; leave out --use_inbatch_neg no")
