"""`bioemb average`: several encoders trained from one start in, one with the mean of their weights out.

Model soup (arXiv 2203.05482): trainings that differ in seed or setting lie around a better model than each of them.
Models of several starts have no such middle, and nothing here can tell: evaluate what comes out.
"""

from pathlib import Path

from bioemb.averaging import average_with
from bioemb.config import AverageConfig
from bioemb.encoder import Encoder
from bioemb.errors import ConfigError, ModelError
from bioemb.flags import output_settings
from bioemb.log import logger
from bioemb.manifest import begin, describe, finish
from bioemb.model_folder import find_folder, weights_hash


def run(config: AverageConfig) -> str:
    """Average and save; returns what was averaged. Raises ConfigError, ModelError where the models are no kin."""
    output = Path(config.output_dir)
    if output.resolve() in {Path(name).resolve() for name in config.model_path}:
        raise ConfigError(f"--output_dir {output} is one of the models; name another folder")
    hashes = {f"model {n}": weights_hash(find_folder(name)) for n, name in enumerate(config.model_path, start=1)}
    if len(set(hashes.values())) < len(hashes):
        logger.warning("some of the models have the same weights")
    description = describe("average", output_settings(config), [], hashes)
    if not begin(output, description, config.overwrite):
        return f"{output} is complete; nothing to do"
    weights = config.weights or (1.0,) * len(config.model_path)
    first, total = Encoder.from_pretrained(config.model_path[0]), weights[0]
    for name, weight in zip(config.model_path[1:], weights[1:], strict=True):
        total += weight
        average_with(first, _kin(name, first), weight / total)
    first.save(output)
    finish(output, description, {"models": list(map(_last_part, config.model_path)), "weights": list(weights)})
    return f"{output}: the mean of {len(weights)} models"


def _kin(name: str, first: Encoder) -> Encoder:
    """The encoder, if its weights can be averaged with the first one's. Raises ModelError."""
    encoder = Encoder.from_pretrained(name)
    shapes, expected = ({key: weight.shape for key, weight in one.named_parameters()} for one in (encoder, first))
    different = [key for key in {**shapes, **expected} if shapes.get(key) != expected.get(key)]
    if different:
        raise ModelError(
            f"{name} has another architecture than {first.source}: {len(different)} weights differ in name or shape "
            f"(first {different[0]}); average trainings from one start"
        )
    if (encoder.layout.pooling, encoder.layout.normalize) != (first.layout.pooling, first.layout.normalize):
        raise ModelError(f"{name} pools or normalises otherwise than {first.source}; average trainings from one start")
    if encoder.tokenizer.get_vocab() != first.tokenizer.get_vocab():
        raise ModelError(f"{name} has another vocabulary than {first.source}; average trainings from one start")
    return encoder


def _last_part(name: str) -> str:
    return Path(name).name if Path(name).exists() else name
