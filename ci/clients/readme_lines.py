"""The README's own lines, as they stand there but for the port. ``readme_lines.py URL FOLDER``"""

import json
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def main(url: str, folder: str) -> None:
    section = README.read_text(encoding="utf-8").partition("## The engine by itself")[2]
    block = re.search(r"```\n(.*?)```", section, re.DOTALL)
    assert block is not None
    lines = block[1].replace("localhost:8000", url.removeprefix("http://"))
    done = subprocess.run(["bash", "-euc", lines], cwd=folder, capture_output=True, text=True, timeout=120, check=True)
    question, _, rest = done.stdout.partition("\n")
    decoder, answers = json.JSONDecoder(), []
    while rest.strip():
        answer, end = decoder.raw_decode(rest.strip())
        answers.append(answer)
        rest = rest.strip()[end:]
    native, chat = answers
    assert native["meta_info"]["evidence"]["items"][0]["encoder_rows"]
    assert native["text"] == chat["choices"][0]["message"]["content"]
    assert native["text"].split() == question.partition("->")[2].split(), (question, native["text"])


if __name__ == "__main__":
    main(*sys.argv[1:])
