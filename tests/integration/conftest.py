"""What the tests of the whole agent share: a short home for its processes, and the settings for each engine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def home() -> Iterator[Path]:
    """A home whose path is short enough for a unix socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="titan-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
