"""Fixtures that several test folders share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from makers import ColourEncoder, write_pictures

# No test of ours watches the clock: machines are busy, and a first example may load a library. Fixtures shared by examples are only read.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.load_profile("ours")

REPOSITORY = Path(__file__).parents[1]
REAL_DATA = REPOSITORY.parent / "shared" / "data"
REAL_MODELS = REPOSITORY / ".models"


@pytest.fixture
def colour() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with nine pictures, one of them in a folder below."""
    write_pictures(tmp_path / "photos", range(8))
    write_pictures(tmp_path / "photos" / "more", range(8, 9))
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Evaluation data beside the repository; its tests skip where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip("the evaluation data is not beside the repository")
    return REAL_DATA


@pytest.fixture(scope="session")
def real_models() -> Path:
    """Real small models below the repository; their tests skip where nobody made them."""
    if not (REAL_MODELS / "smollm2" / "config.json").is_file():
        pytest.skip("no real models here: make real-models")
    return REAL_MODELS
