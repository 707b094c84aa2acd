"""What the set-up does to a torchvision built for another torch, on a copy of the two places it changes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
PLACES = '@torch.library.register_fake("torchvision::nms")\ndef f(): ...\n'


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mend_torchvision", ROOT / "ci" / "mend_torchvision.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_transformers_image_classes_import_in_this_environment_without_help() -> None:
    code = "from transformers import Qwen2_5_VLForConditionalGeneration, AutoProcessor"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]


def test_a_registration_is_made_to_ask_first_and_only_once(tmp_path: Path) -> None:
    script = load_script()
    file = tmp_path / "_meta_registrations.py"
    file.write_text(PLACES)
    assert script.mend(file)
    assert "if torchvision.extension._has_ops() else" in file.read_text()
    assert not script.mend(file)
