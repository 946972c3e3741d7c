"""What stands between the command and the first paint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from components.engines.device import DRIVER_NODES

HEAVY = {"torch", "transformers", "av", "ctranslate2", "datasets", "rapidfuzz"}

BUILD = """
import sys
from components.core.settings import Settings
from components.runs.lab import Lab
from components.ui import layout
lab = Lab(Settings(pair="base"))
layout.launch_options(layout.build(lab), lab)
print(*sys.modules)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or any(any(Path("/dev").glob(node)) for node in DRIVER_NODES),
    reason="with an accelerator's driver here, PyTorch is asked for the device",
)
def test_the_page_is_built_before_anything_heavy_is_imported():
    """It is up while the models' libraries load: an exact form of "fast", which no noise disturbs."""
    loaded = subprocess.run([sys.executable, "-c", BUILD], capture_output=True, text=True, check=True, timeout=120)
    names = set(loaded.stdout.split())
    assert "gradio" in names
    assert not names & HEAVY
