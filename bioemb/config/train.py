"""The settings of `bioemb train`."""

from collections import Counter
from dataclasses import dataclass, fields
from math import inf
from typing import ClassVar

from bioemb.config.shared import POOLING_CHOICES
from bioemb.errors import ConfigError
from bioemb.flags import flag

SCORED_GROUPS, SCORED_PAIRS = ("kl_div", "m3_kd_loss", "margin_mse"), ("cosent", "angle")  # losses that need scores
TRAIN_RANGES = (  # field, lowest, highest
    ("train_group_size", 1, inf),
    ("per_device_train_batch_size", 1, inf),
    ("sub_batch_size", 1, inf),
    ("gradient_accumulation_steps", 1, inf),
    ("max_example_num_per_dataset", 1, inf),
    ("small_threshold", 0, inf),
    ("drop_threshold", 0, inf),
    ("data_temperature", 1, inf),
    ("pad_to_multiple_of", 1, inf),
    ("logging_steps", 1, inf),
    ("save_steps", 1, inf),
    ("save_total_limit", 1, inf),
    ("eval_share", 0, 0.5),
    ("eval_steps", 1, inf),
    ("early_stopping_patience", 1, inf),
    ("dataloader_num_workers", 0, inf),
    ("seed", 0, inf),
    ("learning_rate", 0, inf),
    ("num_train_epochs", 0, 1e9),
    ("false_negative_margin", -2, 2),
    ("lora_alpha", 0, 1e9),
    ("loss_learning_rate", 0, inf),
    ("warmup_steps", 0, inf),
    ("weight_decay", 0, inf),
    ("adam_beta1", 0, 0.999999),
    ("adam_beta2", 0, 0.999999),
    ("adam_epsilon", 0, inf),
    ("max_grad_norm", 0, inf),
    ("warmup_ratio", 0, 1),
    ("shuffle_ratio", 0, 1),
    ("dropout", 0, 1),
    ("lora_rank", 1, inf),
    ("lora_dropout", 0, 1),
    ("average_with_start", 0, 1),
    ("ema_decay", 0, 0.999999),
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
        "save_merged_lora_model": "the saved model is always merged",
        "deepspeed": "launch with `accelerate launch --use_deepspeed --deepspeed_config_file FILE`",
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
        "files or folders of examples (.json, .jsonl, .gz, .zst, .parquet), or owner/name:config:split@revision of "
        "the hub",
        output=False,
    )
    data_weights: tuple[float, ...] = flag(
        "how often an epoch takes the rows of each of these: 0.5 a half in turn, 2 each twice (default: 1 each)", ()
    )
    data_temperature: float | None = flag(
        "or: take each in proportion to its rows^(1/X), an epoch as long as ever; 1 changes nothing", None
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
    max_example_num_per_dataset: int = flag("most rows trained on of each file, at random", 100_000_000)
    same_dataset_within_batch: bool = flag("rows of a batch come from one file", False)
    small_threshold: int = flag("then files of fewer rows make one set with the others of their folder", 0)
    drop_threshold: int = flag("and such a set of fewer rows is dropped", 0)
    shuffle_ratio: float = flag("share of positives of over 100 characters whose thirds are shuffled", 0.0)
    # model
    sentence_pooling_method: str = flag(
        "pooling; `auto` reads it from the model folder", "auto", choices=POOLING_CHOICES
    )
    normlized: bool | None = flag(
        "vectors of length 1 (default: yes, but where the model's folder compares by dot products)",
        None,
        also=("normalize_embeddings",),
    )
    dropout: float | None = flag(
        "share dropped in training, `none` for the model's own; 0 makes a run independent of the number of processes "
        "and of sub-batches, and faster",
        0.0,
    )
    fix_position_embedding: bool = flag("do not train the position embeddings", False)
    use_lora: bool = flag("train low-rank adapters only; the saved model has them merged (needs peft)", False)
    lora_rank: int = flag("columns of an adapter's matrices", 64)
    lora_alpha: float = flag("an adapter's share is this over its rank", 16.0)
    lora_dropout: float = flag("share of an adapter's input dropped in training", 0.0)
    target_modules: tuple[str, ...] = flag("names of the layers that get one (default: all linear ones)", ())
    gradient_checkpointing: bool = flag("less memory, a third more work", False, also=("activation_checkpointing",))
    torch_compile: bool = flag(
        "compile the encoder with torch.compile: a minute or more at the start, then faster steps; needs a C++ "
        "compiler on a CPU, Triton on a GPU",
        False,
        output=False,
    )
    torch_compile_backend: str = flag("by which of torch.compile's backends", "inductor", output=False)
    trust_remote_code: bool = flag("run code that comes with the model", False)
    # loss
    loss: str = flag(
        "info_nce; of scored groups kl_div, m3_kd_loss, margin_mse; of scored pairs cosent, angle; or your own as "
        "module:Class or module:function",
        "info_nce",
    )
    temperature: float = flag("divides the cosines", 0.02)
    learn_temperature: bool = flag("train the temperature too, from there on", False)
    use_inbatch_neg: bool = flag("other queries' passages are negatives", True)
    negatives_cross_device: bool = flag("so are those on the other processes", False)
    directions: str = flag(
        "query: queries against passages; both: and positives against queries; gte: one softmax of all four kinds",
        "query",
        choices=("query", "both", "gte"),
    )
    false_negative_margin: float | None = flag(
        "leave out passages that score this much (in cosines) above the positive, by the model or by a guide", None
    )
    guide_model_name_or_path: str | None = flag(
        "a frozen encoder whose cosines say which passages are false negatives (GISTEmbed; margin 0 unless given)",
        None,
        output=False,  # its weights' hash is what counts
    )
    score_scale: float | None = flag(
        "what cosines are multiplied by: cosent and angle (default: 20), margin_mse (default: 1)", None
    )
    knowledge_distillation: bool = flag("also learn from pos_scores and neg_scores", False)
    kd_loss_type: str = flag("how", "kl_div", choices=("kl_div", "m3_kd_loss", "margin_mse"))
    kd_temperature: float = flag("divides the teacher's scores", 1.0)
    use_mrl: bool = flag("Matryoshka: train the first dimensions to stand alone", False)
    mrl_dims: tuple[int, ...] = flag("Matryoshka: the numbers of dimensions", ())
    # steps
    per_device_train_batch_size: int = flag("queries of a process in a step", 8)
    sub_batch_size: int | None = flag(
        "queries whose graph is in memory at once; gradients stay exact (GradCache), with bf16 up to its rounding",
        None,
        output=False,
    )
    gradient_accumulation_steps: int = flag(
        "batches of a step; negatives do not cross them: prefer --sub_batch_size", 1
    )
    num_train_epochs: float = flag("passes over the data", 3.0)
    max_steps: int = flag("steps, instead of epochs, when positive", -1)
    dataloader_drop_last: bool = flag("leave out the last batch of an epoch when it is not full", False)
    dataloader_num_workers: int = flag("processes that prepare batches", 0, output=False)
    learning_rate: float = flag("highest learning rate", 2e-5)
    loss_learning_rate: float | None = flag(
        "that of the loss's own parameters, as a learnt temperature (default: as learning_rate, which hardly moves it)",
        None,
    )
    lr_scheduler_type: str = flag(
        "linear, cosine, cosine_with_restarts, polynomial, constant, constant_with_warmup or inverse_sqrt", "linear"
    )
    warmup_ratio: float = flag("share of the steps over which the rate rises", 0.0)
    warmup_steps: int = flag("steps over which the rate rises, when positive", 0)
    weight_decay: float = flag("weight decay, not of biases and norms", 0.0)
    adam_beta1: float = flag("AdamW", 0.9)
    adam_beta2: float = flag("AdamW", 0.999)
    adam_epsilon: float = flag("AdamW", 1e-8)
    max_grad_norm: float = flag("the gradient's norm is cut to this; 0 leaves it", 1.0)
    ema_decay: float | None = flag(
        "keep a moving average of the weights, which is what is saved in the end; 0.999 forgets in about 1,000 steps",
        None,
    )
    average_with_start: float = flag(
        "share of the starting weights in those saved in the end: keeps what the model knew of other fields", 0.0
    )
    fp16: bool = flag("float16 with loss scaling on a GPU; on a CPU bfloat16 stands in, where it has it", False)
    bf16: bool = flag("bfloat16 autocast", False)
    seed: int = flag("seed of batches, groups and dropout", 42)
    # evaluation on held-out queries
    eval_data: tuple[str, ...] = flag(
        "examples to evaluate on; training rows that share a query or a positive's identity are left out",
        (),
        output=False,
    )
    eval_share: float = flag("or: share of the training data's queries to hold out for it", 0.0)
    eval_steps: int | None = flag("evaluate after so many steps, and at the end (default: as save_steps)", None)
    load_best_model_at_end: bool = flag("save the weights of the best evaluation, not the last ones", False)
    metric_for_best_model: str = flag(
        "what is best: mrr, recall@1 or recall@10",
        "mrr",
        choices=("mrr", "recall@1", "recall@10"),
        also=("metric_for_best",),
    )
    early_stopping_patience: int | None = flag("stop after so many evaluations without a better one", None)
    # watching and keeping
    logging_steps: int = flag("log after so many steps", 10, output=False)
    save_steps: int = flag("write a checkpoint after so many steps", 500, output=False)
    save_total_limit: int | None = flag("newest checkpoints kept, beside the best", None, output=False)
    resume_from_checkpoint: str = flag(
        "auto goes on from the newest checkpoint, no starts over and removes those that are there, the folder of one "
        "goes on from it and removes later ones",
        "auto",
        output=False,
    )
    push_to_hub: str | None = flag(
        "name on the hub to push the trained model to, as `you/model`; checkpoints and data stay here; to push it with "
        "the scores of an evaluation, use `bioemb push` after that",
        None,
        also=("hub_model_id",),
        output=False,
    )
    hub_private_repo: bool = flag("make that repository private, and refuse one that is public", True, output=False)
    report_to: str = flag("none, or a tracker of accelerate: tensorboard, wandb, ...", "none", output=False)
    cache_path: str | None = flag("folder for the prepared examples (default: beside the output)", None, output=False)
    overwrite_output_dir: bool = flag(
        "replace an output that was made otherwise", False, output=False, also=("overwrite",)
    )

    @property
    def loss_name(self) -> str:
        """The loss that `loss`, `knowledge_distillation` and `kd_loss_type` come to."""
        return self.kd_loss_type if self.knowledge_distillation and self.loss == "info_nce" else self.loss

    @property
    def needs_scores(self) -> bool:
        return self.knowledge_distillation or self.loss in SCORED_GROUPS + SCORED_PAIRS

    @property
    def group_size(self) -> int:
        """Passages of a query; a scored pair has one."""
        return 1 if self.loss in SCORED_PAIRS else self.train_group_size

    def __post_init__(self):
        for name, lowest, highest in TRAIN_RANGES:
            value = getattr(self, name)
            if value is not None and not lowest <= value <= highest:
                expected = f"{lowest} or more" if highest == inf else f"from {lowest} to {highest}"
                raise ConfigError(f"{name} is {value}; expected {expected}")
        for name, usual in (("temperature", "0.01 to 0.1"), ("kd_temperature", "1"), ("score_scale", "20")):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}; expected more than 0, usually {usual}")
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
        self._check_adapters()
        self._check_evaluation()
        self._check_sets()

    def _check_adapters(self):
        for field in () if self.use_lora else fields(self):
            of_adapters = field.name.startswith("lora_") or field.name == "target_modules"
            if of_adapters and getattr(self, field.name) != field.default:
                raise ConfigError(f"{field.name} has no effect without --use_lora; add it, or leave {field.name} out")

    def _check_sets(self):
        for name, count in Counter(self.train_data).items():
            if count > 1:
                raise ConfigError(
                    f"train_data names {name} {count} times, and a file counts once: to take its rows more often, name "
                    f"it once and say --data_weights {count} (one number for each entry)"
                )
        if self.data_weights and self.data_temperature:
            raise ConfigError("data_weights and data_temperature exclude each other; choose one")
        if self.data_weights and len(self.data_weights) != len(self.train_data):
            raise ConfigError(
                f"{len(self.data_weights)} data_weights for {len(self.train_data)} entries of train_data; give one each"
            )
        if any(not 0 < weight < inf for weight in self.data_weights):
            raise ConfigError(f"data_weights are {self.data_weights}; expected numbers above 0")

    def _check_evaluation(self):
        if self.eval_data and self.eval_share:
            raise ConfigError("eval_data and eval_share exclude each other; choose one")
        evaluates = bool(self.eval_data or self.eval_share)
        for name in ("eval_steps", "load_best_model_at_end", "early_stopping_patience"):
            if getattr(self, name) and not evaluates:
                raise ConfigError(f"{name} needs held-out queries; give --eval_data, or --eval_share 0.02")
        if evaluates and self.loss in SCORED_PAIRS:
            raise ConfigError(f"--loss {self.loss} trains on scored pairs, which have no positives to look for")
