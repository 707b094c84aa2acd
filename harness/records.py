"""The run record: one JSON file a run, made of append-only events, readable even when the run broke off.

While a run goes on, every event is a line of ``RUN.partial.jsonl``, flushed at once. ``finish`` writes ``RUN.json``
beside it in one atomic step and removes the partial file; after a crash or ``kill -9`` the partial file is what was
measured, and :func:`load_record` reads both. Pictures are kept as a digest and a small thumbnail, secrets not at all.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from harness.errors import RecordError, UsageError
from harness.json_lines import read_lines
from harness.observation import Observation, Picture, Prompt
from harness.verdict import Filed

SCHEMA_VERSION = 1
THUMBNAIL = 112
SECRET_NAME = re.compile(
    r"(?<![a-z])(token|(api)?key|secret|passw\w*|credentials?|auth\w*|cookie)(?![a-z])", re.IGNORECASE
)
URL_LOGIN = re.compile(r"//[^/@\s]+@")
KEPT_PREFIXES = (
    "ASSAY_", "OMP_", "MKL_", "TORCH", "PYTORCH_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "HF_", "PYTHON",
    "SGLANG_", "VLLM_",
)  # fmt: skip


class Recorder:
    """Writes one run's events. Use as a context manager: leaving it without :meth:`finish` keeps the partial file."""

    def __init__(self, directory: Path, name: str | None = None) -> None:
        self.run = name or f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(2)}"
        self.path = directory / f"{self.run}.json"
        self.partial = directory / f"{self.run}.partial.jsonl"
        self.logs = directory / f"{self.run}.logs"
        self._pictures: set[str] = set()
        self._whole = 0
        """Bytes of the partial file that are whole lines."""
        self._clock = time.time() - time.monotonic()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lines = self.partial.open("xb", buffering=0)
        except OSError as error:
            raise UsageError(f"--out {directory}: no record can be written there: {error.strerror}") from error

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lines.close()

    def event(self, kind: str, **fields: Any) -> None:
        """On disk when this returns. Raises :class:`RecordError` where that fails; what was there before stays whole.

        Times go on evenly even where the machine's clock is set meanwhile.
        """
        line = {"event": kind, "at": round(self._clock + time.monotonic(), 3)} | fields
        left = (json.dumps(line, ensure_ascii=False, default=_plain) + "\n").encode(errors="replace")
        size = len(left)
        try:
            while left:
                left = left[self._lines.write(left) :]
        except OSError as error:
            self._lines.truncate(self._whole)
            self._lines.seek(self._whole)
            raise RecordError(self._cannot_write(self.partial, error)) from error
        self._whole += size

    def _cannot_write(self, path: Path, error: OSError) -> str:
        """What is lost, what is kept and what to do."""
        kept = f"what was measured before is in {self.partial} (`assay report` makes a page of it)"
        return f"record: cannot write {path}: {error.strerror}; {kept}. Make room (`df -h`), or name another --out"

    def prompt(self, job: str, prompt: Prompt) -> None:
        """A request as sent; its pictures by digest, a thumbnail of each new one beside it."""
        for picture in prompt.pictures:
            if picture.digest not in self._pictures:
                self._pictures.add(picture.digest)
                size = [picture.width, picture.height]
                self.event("picture", digest=picture.digest, size=size, thumbnail=thumbnail(picture))
        fields = {name: value for name, value in vars(prompt).items() if name not in ("pictures", "clips")}
        clips = [{"frames": [frame.digest for frame in clip.frames], "fps": clip.fps} for clip in prompt.clips]
        pictures = [picture.digest for picture in prompt.pictures]
        self.event("prompt", job=job, pictures=pictures, clips=clips, **fields)

    def answer(self, job: str, seen: Observation) -> None:
        self.event("answer", job=job, **asdict(seen))

    def verdict(self, filed: Filed) -> None:
        self.event("verdict", job=filed.job, drill=filed.drill, known=filed.known, **asdict(filed.verdict))

    def finish(self, code: int) -> Path:
        """Put the whole record in place, atomically."""
        self.event("end", exit_code=code)
        self._lines.close()
        try:
            self._put_in_place(code)
        except OSError as error:
            self.path.with_suffix(".json.tmp").unlink(missing_ok=True)
            raise RecordError(self._cannot_write(self.path, error)) from error
        self.partial.unlink()
        return self.path

    def _put_in_place(self, code: int) -> None:
        record = {"schema_version": SCHEMA_VERSION, "run": self.run, "complete": True, "exit_code": code}
        waiting = self.path.with_suffix(".json.tmp")
        with waiting.open("wb") as file:
            events = b",\n".join(read_lines(self.partial))
            file.write(json.dumps(record)[:-1].encode() + b', "events": [\n' + events + b"\n]}\n")
            file.flush()
            os.fsync(file.fileno())
        waiting.replace(self.path)


def load_record(path: Path) -> dict[str, Any]:
    """A finished record, or what a run that broke off left. Raises :class:`UsageError` for anything else."""
    if not path.is_file():
        raise UsageError(f"no record at {path}")
    try:
        record = json.loads(path.read_bytes()) if path.suffix == ".json" else _from_lines(path, read_lines(path))
    except ValueError as error:
        raise UsageError(f"{path} is not a run record: {error}") from error
    if not isinstance(record, dict) or "events" not in record:
        raise UsageError(f"{path} is not a run record: it holds no events")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise UsageError(f"{path} has schema version {record.get('schema_version')}; this Assay reads {SCHEMA_VERSION}")
    return record


def _from_lines(path: Path, lines: Iterable[bytes]) -> dict[str, Any]:
    events = []
    for line in lines:
        try:
            events.append(json.loads(line))
        except ValueError:
            break  # the line that the crash cut short is the last one
    run = path.name.removesuffix(".partial.jsonl")
    return {"schema_version": SCHEMA_VERSION, "run": run, "complete": False, "exit_code": None, "events": events}


def thumbnail(picture: Picture) -> str:
    """A small PNG of few colours as base64, for people; the digest is what identifies the picture."""
    image = Image.open(io.BytesIO(picture.png)).convert("RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.quantize(24, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def public_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that can change how an engine runs, without those that look like secrets."""
    kept = {name: value for name, value in environment.items() if name.startswith(KEPT_PREFIXES)}
    return {name: URL_LOGIN.sub("//", value) for name, value in sorted(kept.items()) if not SECRET_NAME.search(name)}


def public_arguments(argv: Iterable[str]) -> list[str]:
    """A command line with the values of secret-looking flags taken out."""
    shown: list[str] = []
    hide_next = False
    for argument in argv:
        flag, separator, _ = argument.partition("=")
        secret = flag.startswith("-") and SECRET_NAME.search(flag) is not None
        hidden = f"{flag}=(removed)" if secret and separator else argument
        shown.append("(removed)" if hide_next else URL_LOGIN.sub("//", hidden))
        hide_next = secret and not separator
    return shown


def _plain(value: object) -> object:
    if isinstance(value, (Path, bytes)):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a run record")
