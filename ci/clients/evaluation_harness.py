"""lm-eval, by its command: log-likelihoods and generation. Its log-likelihoods must be those that ``/generate`` tells
of the same ids. ``evaluation_harness.py URL FOLDER``
"""

import json
import math
import subprocess
import sys
from pathlib import Path

import httpx

from reference_engine.sentinels import resolve_model

MODEL = "sentinel-qwen2.5-vl"
DOCUMENTS = [
    {"question": "image1 row1 read", "choices": ["1", "red"], "gold": 0},
    {"question": "count red", "choices": ["blue", "2"], "gold": 1},
    {"question": "compare them", "choices": ["3", "green"], "gold": 0},
]
CHOICE = {
    "output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "gold",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip
GENERATE = {
    "output_type": "generate_until", "doc_to_target": "{{choices[gold]}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 6, "temperature": 0},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}  # fmt: skip


def write_tasks(folder: Path) -> None:
    """YAML that is JSON."""
    documents = folder / "documents.jsonl"
    documents.write_text("\n".join(json.dumps(document) for document in DOCUMENTS))
    for name, own in (("sentinel_choice", CHOICE), ("sentinel_generate", GENERATE)):
        common = {"task": name, "dataset_path": "json", "test_split": "test", "doc_to_text": "{{question}}"}
        common |= {"dataset_kwargs": {"data_files": {"test": str(documents)}}, "metadata": {"version": 1}}
        (folder / f"{name}.yaml").write_text(json.dumps(common | own))


def evaluate(url: str, folder: Path) -> Path:
    """The folder of its results."""
    out = folder / "results"
    given = {"model": MODEL, "base_url": f"{url}/v1/completions", "num_concurrent": 2, "max_retries": 1}
    given |= {"tokenizer_backend": "huggingface", "tokenizer": resolve_model(MODEL), "tokenized_requests": True}
    tasks = ["--tasks", "sentinel_choice,sentinel_generate", "--include_path", str(folder)]
    model = [
        "--model",
        "local-completions",
        "--model_args",
        ",".join(f"{name}={value}" for name, value in given.items()),
    ]
    command = ["lm_eval", "run", *model, *tasks, "--log_samples", "--output_path", str(out)]
    subprocess.run(command, check=True, timeout=240)
    return out


def check_likelihoods(samples: Path, url: str) -> None:
    """Each against the engine's own numbers for prompt and continuation."""
    checked = 0
    for line in samples.read_bytes().splitlines():
        sample = json.loads(line)
        for asked, [[found, _]] in zip(sample["arguments"].values(), sample["resps"], strict=True):
            context, continuation = asked["arg_0"], asked["arg_1"]
            first, both = (
                httpx.post(f"{url}/tokenize", json={"prompt": text}).json()["tokens"]
                for text in (context, context + continuation)
            )
            body = {"input_ids": both, "return_logprob": True, "logprob_start_len": len(first)}
            meta = httpx.post(f"{url}/generate", json=body | {"sampling_params": {"max_new_tokens": 1}}).json()[
                "meta_info"
            ]
            expected = sum(logprob for logprob, _, _ in meta["input_token_logprobs"])
            assert math.isclose(float(found), expected, abs_tol=1e-3), (asked, found, expected)
            checked += 1
    assert checked == 6


def main(url: str, folder: str) -> None:
    work = Path(folder) / "evaluation"
    work.mkdir()
    write_tasks(work)
    out = evaluate(url, work)
    [samples] = out.rglob("samples_sentinel_choice*.jsonl")
    check_likelihoods(samples, url)
    [samples] = out.rglob("samples_sentinel_generate*.jsonl")
    assert len(samples.read_bytes().splitlines()) == len(DOCUMENTS)


if __name__ == "__main__":
    main(*sys.argv[1:])
