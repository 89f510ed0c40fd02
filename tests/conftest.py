"""Fixtures that tests share. Real data is used where it can be found and never required."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line sets it, before torch is imported

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder of real PubMed and PMC data; tests that ask for it skip where there is none."""
    folder = Path(os.environ.get("BIOEMB_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data here: set BIOEMB_TEST_DATA to a folder that holds it")
    return folder


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture):
    """What bioemb's logger says, each record once, whether or not a command has configured it."""
    from bioemb.log import logger

    before, logger.propagate = logger.propagate, False
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
    logger.propagate = before


@pytest.fixture(scope="session")
def tiny_encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain transformers folder with a tiny BERT (`tiny_encoder.py`); to be read only."""
    from tiny_encoder import write_tiny_encoder

    return write_tiny_encoder(tmp_path_factory.mktemp("models") / "tiny-bert")
