"""A task file of lm-eval, by lm-eval itself. Run where that package is installed (ci/suites/clients.sh)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from harness.errors import UsageError
from harness.tasks.find import find_task

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.filterwarnings("ignore")  # other people's


def write(folder: Path, **more: object) -> str:
    documents = folder / "documents.jsonl"
    documents.write_text("\n".join(json.dumps({"q": f"how many? {i}", "a": str(i)}) for i in range(3)))
    task = {
        "task": "counting", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(documents)}},
        "test_split": "test", "output_type": "generate_until", "doc_to_text": "<image> {{q}}", "doc_to_target": "{{a}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    path = folder / "counting.yaml"
    path.write_text(json.dumps(task | more))
    return str(path)


def test_its_documents_prompts_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    samples = find_task(write(tmp_path)).samples(2, 0)
    assert [sample.question for sample in samples] == ["how many? 0", "how many? 1"]
    assert samples[1].max_new_tokens == 4
    assert samples[1].right("1\nand more")
    assert not samples[1].right("2")


def test_a_task_of_another_kind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    path = write(tmp_path, output_type="loglikelihood", metric_list=[{"metric": "perplexity"}])
    with pytest.raises(UsageError, match="is of kind loglikelihood"):
        find_task(path)


def test_images_come_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    (tmp_path / "pictures.py").write_text(
        "from PIL import Image\ndef of(doc):\n    return [Image.new('RGB', (28, 28))]\n"
    )
    path = Path(write(tmp_path))
    path.write_text(path.read_text()[:-1] + ',\n"doc_to_image": !function pictures.of\n}')
    [sample, *_] = find_task(str(path)).samples(None, 0)
    assert [image.size for image in sample.images] == [(28, 28)]
    assert isinstance(sample.images[0], Image.Image)
