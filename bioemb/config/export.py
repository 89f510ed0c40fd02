"""The settings of `bioemb export`."""

from dataclasses import dataclass

from bioemb.config.shared import POOLING_CHOICES
from bioemb.errors import ConfigError
from bioemb.flags import flag


@dataclass(frozen=True)
class ExportConfig:
    """Write an encoder as an ONNX graph, in a folder that servers load, checked against PyTorch's vectors."""

    model_path: str = flag("encoder to export: a folder or a hub name; decoders are refused", output=False)
    output_dir: str = flag("folder to write: the model, and its graph in onnx/model.onnx", output=False)
    format: str = flag("what to write", "onnx", choices=("onnx",))
    quantize: str = flag(
        "int8: also write onnx/model_int8.onnx, a quarter of the size. It costs quality, and how much differs by model "
        "(MiniLM: cosines to its own vectors of 0.99); what it costs here is measured and printed",
        "none",
        choices=("none", "int8"),
    )
    max_difference: float = flag(
        "largest difference between a number of PyTorch's vector and the graph's, of the vector's length; above it the "
        "export is refused",
        1e-4,
        output=False,
    )
    input_file: tuple[str, ...] = flag(
        "pairs or examples whose texts are compared, 128 of them (default: generated ones)", (), output=False
    )
    task: tuple[str, ...] = flag(
        "with --quantize: tasks to score before and after, of mteb or of --local_data", (), also=("tasks",)
    )
    local_data: str | None = flag("folder with tasks, as `bioemb evaluate` takes it", None, output=False)
    pooling_method: str = flag("pooling; `auto` reads it from the model folder", "auto", choices=POOLING_CHOICES)
    overwrite: bool = flag("replace what is in the output folder", False, output=False)

    def __post_init__(self):
        if not 0 < self.max_difference < 1:
            raise ConfigError(f"max_difference is {self.max_difference}; expected a number between 0 and 1")
        if self.task and self.quantize == "none":
            raise ConfigError("--task measures what --quantize costs, and nothing is quantized; say --quantize int8")
        if self.local_data and not self.task:
            raise ConfigError("--local_data is given without --task; name its tasks")
