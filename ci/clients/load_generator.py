"""guidellm, by its command: every request answered, in the tokens asked for. ``load_generator.py URL FOLDER``"""

import json
import subprocess
import sys
from pathlib import Path

from reference_engine.sentinels import resolve_model

MODEL, REQUESTS, TOKENS = "sentinel-qwen2.5-vl", 8, 6


def main(url: str, folder: str) -> None:
    out = Path(folder) / "guidellm.json"
    options = {
        "--backend": f"kind=openai_http,target={url},model={MODEL}",
        "--tokenizer": f"kind=huggingface_auto,model={resolve_model(MODEL)}",
        "--profile": "kind=concurrent,streams=2",
        "--constraint": f"kind=max_requests,count={REQUESTS}",
        "--data": f"kind=synthetic_text,prompt_tokens=24,output_tokens={TOKENS}",
        "--output": f"kind=json,path={out}",
    }
    command = ["guidellm", "run", "--disable-progress", *(part for option in options.items() for part in option)]
    subprocess.run(command, check=True, timeout=240)
    [benchmark] = json.loads(out.read_text())["benchmarks"]
    requests = benchmark["requests"]
    assert not requests["errored"], requests["errored"][0]["info"]["error"]
    assert len(requests["successful"]) == REQUESTS
    made = [request["output_metrics"]["text_tokens"] for request in requests["successful"]]
    assert made == [TOKENS] * REQUESTS, made


if __name__ == "__main__":
    main(*sys.argv[1:])
