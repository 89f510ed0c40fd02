"""`accelerate launch train.py`: examples in, a trained encoder and its checkpoints out."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bioemb import checkpoint
from bioemb.config import TrainConfig
from bioemb.errors import BioembError, ConfigError
from bioemb.files import RECORD_SUFFIXES, check_name_length, list_files, remove_leftovers
from bioemb.flags import nearest, output_settings
from bioemb.hub_upload import check_login, push
from bioemb.locking import lock, unlock
from bioemb.log import logger
from bioemb.manifest import begin, describe, differences, finish, read_manifest
from bioemb.processes import first_then_all, leave_at_end, on_first
from bioemb.stages.train_accelerator import check_sharded, make_accelerator
from bioemb.stages.train_card import write_card
from bioemb.stages.train_data import TrainingData, prepare_data
from bioemb.stages.train_deepspeed import pass_through
from bioemb.stages.train_loss import make_loss

if TYPE_CHECKING:
    from bioemb.encoder import Encoder
    from bioemb.trainer import Trainer

AUTO = ("auto", "true", "yes")  # of --resume_from_checkpoint: the newest one of this output


def run(config: TrainConfig) -> str:
    """Train, or go on, or find that there is nothing to do. Raises the errors of a user's making."""
    from accelerate.utils import set_seed

    if (config.eval_data or config.eval_share) and config.eval_steps is None:
        config = replace(config, eval_steps=config.save_steps)  # which decides what is the best, and when to stop
    accelerator = make_accelerator(config)
    leave_at_end()
    if config.push_to_hub:
        on_first(lambda: check_login(config.push_to_hub))
    set_seed(config.seed)  # a loss of one's own may draw its parameters: the same on every process
    loss, output = make_loss(config), Path(config.output_dir)
    check_sharded(config, accelerator, loss)
    if accelerator.distributed_type == "DEEPSPEED":
        pass_through(accelerator, config)
    encoder = load_encoder(config.model_name_or_path, config)
    _check_widths(config, encoder)
    guide = _load_guide(config.guide_model_name_or_path, config)
    description = _describe(config, encoder, guide, accelerator.num_processes)
    if not on_first(lambda: _begin(output, description, config)):
        return f"{output} is complete; nothing to do"
    newest = _resume_from(config)
    if newest:
        logger.info("going on from %s", newest)
    if newest and not config.use_lora:  # adapters belong beside the starting weights, to the bit
        encoder = load_encoder(newest, config)
    if config.use_lora:
        _add_adapters(encoder, config)
    data = first_then_all(lambda: prepare_data(config, encoder.token_ids, guide.token_ids if guide else None))
    trainer = _make_trainer(encoder, loss, data, guide, accelerator, config)
    if newest:
        _resume(trainer, newest)
    logger.info("%d steps, of which %d are done", trainer.total_steps, trainer.done)
    trainer.fit()
    accelerator.wait_for_everyone()
    return _finish(trainer, data, description)


def _make_trainer(encoder: "Encoder", loss, data: TrainingData, guide, accelerator, config: TrainConfig) -> "Trainer":
    from accelerate.utils import set_seed

    from bioemb.trainer import Trainer

    set_seed(config.seed + accelerator.process_index)  # dropout differs between processes
    if config.report_to != "none":
        accelerator.init_trackers("bioemb", config=_as_scalars(output_settings(config)))
    batch = f"{accelerator.num_processes} processes x {config.per_device_train_batch_size} queries"
    logger.info("%s rows, %s x %d passages", f"{data.rows:,}", batch, config.group_size)
    return Trainer(encoder, loss, data.pools, data.collator, accelerator, config, guide=guide, held_out=data.held_out)


def _as_scalars(settings: dict) -> dict:
    """The settings with a list as words: TensorBoard takes no lists."""
    return {key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in settings.items()}


def _resume(trainer: "Trainer", start: Path) -> None:
    """Go on from a checkpoint; its best evaluation counts only where that step's weights can be taken in the end.

    A checkpoint from elsewhere names a step of another run, and one of a run that kept no best a step without weights.
    """
    from bioemb.held_out import Best

    trainer.resume(start)
    output, best = Path(trainer.config.output_dir), trainer.best
    is_lost = trainer.config.load_best_model_at_end and not checkpoint.folder_of(output, best.step).is_dir()
    if is_lost or start.parent.resolve() != output.resolve():
        best.load(Best().state())


def _finish(trainer: "Trainer", data: TrainingData, description: dict) -> str:
    """Save the model with its card and complete the manifest; the run in one line."""
    from bioemb.held_out import evaluate

    config, accelerator, output = trainer.config, trainer.accelerator, Path(trainer.config.output_dir)
    encoder = _chosen(trainer, config)
    scores = evaluate(encoder, data.held_out, config.bf16) if data.held_out else {}

    def save() -> None:
        encoder.save(output)
        write_card(trainer, encoder, data, scores)
        counts = {"rows": data.rows, "steps": trainer.done, "held_out": scores}
        finish(output, description, {**data.counts, **counts, "starting_model": config.model_name_or_path})

    on_first(save)  # all wait: a recipe's next stage may read it
    for tracker in accelerator.trackers:  # `end_training` would also close the connections, which it needs
        tracker.finish()
    found = "".join(f", held-out {name} {score:.4f}" for name, score in scores.items())
    pushed = f"; {_push(config)}" if config.push_to_hub and accelerator.is_main_process else ""
    return f"{output}: trained for {trainer.done} steps on {data.rows:,} rows{found}{pushed}"


def _push(config: TrainConfig) -> str:
    """Push the saved model; where that fails, say that it is saved and how to try again."""
    output, name = config.output_dir, config.push_to_hub
    try:
        return f"pushed to {push(Path(output), name, private=config.hub_private_repo)}"
    except BioembError as error:
        again = f"bioemb push --model_path {output} --repo_id {name}"
        raise type(error)(f"the model is trained and saved in {output}, but not pushed: {error} (`{again}`)") from None


def _chosen(trainer, config: TrainConfig) -> "Encoder | None":
    """The encoder with the weights that the settings ask for: the best or the last, averages, adapters merged.

    None on all but the first of processes that share the weights.
    """
    from bioemb.averaging import average_with

    if config.load_best_model_at_end and not trainer.best.step:
        logger.warning("nothing was evaluated in this run, so there is no best: saving the last weights")
    elif config.load_best_model_at_end and trainer.best.step != trainer.done:
        logger.info("taking the weights of step %d, the best evaluation", trainer.best.step)
        folder = checkpoint.folder_of(config.output_dir, trainer.best.step)
        trainer.state.load_weights(folder, config.trust_remote_code)
    if trainer.average:
        trainer.average.put_into(trainer.encoder)
    encoder = trainer.state.whole()
    if encoder and config.average_with_start:
        average_with(encoder, load_encoder(config.model_name_or_path, config), config.average_with_start)
    return encoder


def _add_adapters(encoder: "Encoder", config: TrainConfig) -> None:
    from bioemb.lora import add_adapters

    rank, alpha, dropout = config.lora_rank, config.lora_alpha, config.lora_dropout
    add_adapters(encoder, rank, alpha, dropout, config.target_modules, config.seed)
    trained, everything = (
        sum(p.numel() for p in some)
        for some in ([p for p in encoder.parameters() if p.requires_grad], encoder.parameters())
    )
    logger.info("adapters of rank %d: %s of %s weights are trained", rank, f"{trained:,}", f"{everything:,}")


def load_encoder(folder: str | Path, config: TrainConfig) -> "Encoder":
    """The encoder of a folder as the flags want it trained."""
    from bioemb.encoder import Encoder, prompt_from_instruction

    query = prompt_from_instruction(config.query_instruction_for_retrieval, config.query_instruction_format)
    passage = prompt_from_instruction(config.passage_instruction_for_retrieval, config.passage_instruction_format)
    encoder = Encoder.from_pretrained(
        folder,
        pooling=config.sentence_pooling_method,
        normalize=config.normlized,
        prompts={"query": query, "passage": passage},
        trust_remote_code=config.trust_remote_code,
    )
    encoder.set_max_length(config.query_max_len, config.passage_max_len)
    if config.dropout is not None:
        encoder.set_dropout(config.dropout)
    if config.fix_position_embedding:
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and "position_embeddings" not in name)
    if config.gradient_checkpointing:
        encoder.backbone.gradient_checkpointing_enable({"use_reentrant": False})
    if config.torch_compile:
        _compile(encoder, config.torch_compile_backend)
    return encoder


def _compile(encoder: "Encoder", backend: str) -> None:
    """Compile in place, so that names of weights stay; lengths differ from batch to batch, hence dynamic."""
    known = torch.compiler.list_backends(None)
    if backend not in known:
        raise ConfigError(f"torch_compile_backend {backend!r}: torch has {', '.join(known)}{nearest(backend, known)}")
    compilers = os.environ.get("CXX", "g++"), "clang++"
    if backend == "inductor" and not torch.cuda.is_available() and not any(map(shutil.which, compilers)):
        raise ConfigError("torch_compile needs a C++ compiler on a CPU; install g++, or leave it out")
    encoder.backbone.compile(dynamic=True, backend=backend)


def _check_widths(config: TrainConfig, encoder: "Encoder") -> None:
    beyond = [width for width in config.mrl_dims if not 1 <= width <= encoder.width]
    if beyond:
        raise ConfigError(
            f"mrl_dims has {', '.join(map(str, beyond))}; {config.model_name_or_path} gives vectors of {encoder.width} "
            f"dimensions: name numbers from 1 to {encoder.width}"
        )


def _describe(config: TrainConfig, encoder: "Encoder", guide: "Encoder | None", processes: int) -> dict:
    given = (*config.train_data, *config.eval_data)
    local = [name for name in given if Path(name).exists()]
    files = list_files(local, RECORD_SUFFIXES) if local else []
    names = [name for name in given if name not in local]
    models = {"model_name_or_path": encoder.weights_hash}
    if guide:
        models["guide_model_name_or_path"] = guide.weights_hash
    settings = {**output_settings(config), "processes": processes, "hub_data": names}
    if config.eval_data:  # files and names stand in one list, those to evaluate on last
        own = [name for name in config.eval_data if name in local]
        settings["eval_files"] = len(list_files(own, RECORD_SUFFIXES)) if own else 0
        settings["eval_hub_data"] = len(config.eval_data) - len(own)
    return describe("train", settings, files, models)


def _begin(output: Path, description: dict, config: TrainConfig) -> bool:
    """`manifest.begin`; what lies behind the start is removed, and so is what a killed run was writing.

    All lies behind it where an overwritten run had other settings, but for a checkpoint that was named.
    """
    check_name_length(output)
    lock(output)
    remove_leftovers(output)
    checkpoint.remove_leftovers(output)
    found = read_manifest(output)
    if config.overwrite_output_dir and (found is None or differences(found, description)):
        named = None if config.resume_from_checkpoint.lower() in AUTO else _resume_from(config)
        _remove_behind(output, named)  # before the manifest says that this run made it
    has_work = begin(output, description, config.overwrite_output_dir)
    if has_work:
        _remove_behind(output, _resume_from(config))
    else:
        unlock(output)
    return has_work


def _remove_behind(output: Path, start: Path | None) -> None:
    """Remove the checkpoints and the log of what is made again; the log up to a checkpoint the trainer cuts."""
    checkpoint.remove_behind(output, checkpoint.read_state(start)["step"] if start else 0)
    if start is None:
        (output / "metrics.jsonl").unlink(missing_ok=True)


def _resume_from(config: TrainConfig) -> Path | None:
    """The checkpoint to go on from, None to start at the start."""
    wish = config.resume_from_checkpoint.lower()
    if wish in ("no", "false"):
        return None
    if wish in AUTO:
        found = checkpoint.list_checkpoints(config.output_dir)
        return found[-1] if found else None
    folder = Path(config.resume_from_checkpoint)
    if not folder.is_dir():
        raise ConfigError(f"--resume_from_checkpoint {folder}: there is no such folder; say auto, no or a checkpoint")
    return folder


def _load_guide(name: str | None, config: TrainConfig) -> "Encoder | None":
    """A frozen encoder with its own pooling and prompts, that cuts where the trained one cuts or where it must."""
    if name is None:
        return None
    from bioemb.encoder import Encoder

    trust = config.trust_remote_code
    guide = Encoder.from_pretrained(name, normalize=True, trust_remote_code=trust).to_best_device()  # its cosines count
    longest = guide.layout.max_length
    guide.set_max_length(min(config.query_max_len, longest), min(config.passage_max_len, longest))
    return guide.requires_grad_(False).eval()
