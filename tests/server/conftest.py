"""A small real engine with the engine's own interface, the app on it behind a real port, and pictures to send.

``echo`` answers a prompt with its own ids, one a step. The prompt's first word steers it: ``die`` ends its thread,
``fail`` ends that request's last choice with an error, ``refuse`` is refused on submission.
"""

from __future__ import annotations

import base64
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import uvicorn
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from reference_engine import Answer, Engine, EngineConfig, Request, RequestError, StepOutput
from reference_engine.request import TokenLogprob
from reference_engine.sentinels import resolve_model
from reference_engine.server.app import create_app
from reference_engine.server.limits import Limits
from reference_engine.server.listening import Listener, configured
from reference_engine.tokenizer import TextCodec

LOGPROB = TokenLogprob(-0.5, ((7, -0.25), (8, -1.0)))
SPECIAL = ["<|end|>", "<|image_pad|>", "<|video_pad|>", "<|role|>"]
TEMPLATE = (
    "{% for m in messages %}<|role|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for p in m['content'] %}"
    "{% if p['type'] in ('image', 'video') %}<|{{ p['type'] }}_pad|>{% else %}{{ p['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|role|>assistant\n{% endif %}"
)


def byte_tokenizer() -> Any:
    """Every byte a token, four special tokens, a chat template."""
    from reference_engine import hf  # guards against a foreign torchvision before transformers looks for it

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({character: i for i, character in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    made = hf.transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=SPECIAL)
    made.chat_template = TEMPLATE
    return made


@dataclass
class Echoed:
    ids: list[int]


class EchoEngine:
    def __init__(self) -> None:
        self.config = EngineConfig(model="echo", max_images=2, max_prompt_tokens=200)
        self.codec = TextCodec(byte_tokenizer(), 300)
        self.placer: Any = SimpleNamespace(
            family=SimpleNamespace(name="echo", placeholders={"image": 257, "video": 258})
        )
        self.tokenizer = self.codec.tokenizer
        self.go = threading.Event()
        """While it is cleared, no step is made."""
        self.go.set()
        self.threads: set[str] = set()
        self.aborted: list[str] = []
        self.flushed = 0
        self.batches: list[int] = []
        self.closed = 0
        self._running: dict[tuple[str, int], tuple[Request, list[int], list[int]]] = {}
        self._outputs: list[StepOutput] = []
        self._steps = 0

    def prepare(self, request: Request) -> Echoed:
        ids = request.input_ids
        if ids is None:
            ids = self.tokenizer(request.text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise RequestError("text" if request.input_ids is None else "input_ids", "the prompt is empty")
        if len(ids) > self.config.max_prompt_tokens:
            raise RequestError("input_ids", "the prompt is too long", status=413)
        for i, token in enumerate(ids):
            if not 0 <= token < 300:
                raise RequestError(f"input_ids[{i}]", f"{token} is not in the vocabulary")
        return Echoed(list(ids))

    def submit(self, request: Request, prompt: Any = None) -> None:
        self._note()
        if (request.text or "").startswith("refuse"):
            raise RequestError("text", "refused on submission")
        for index in range(request.sampling.n):
            self._running[request.request_id, index] = (request, prompt.ids[: request.sampling.max_new_tokens], [])

    def abort(self, request_id: str) -> None:
        self._note()
        for key in [key for key in self._running if key[0] == request_id]:
            self.aborted.append(request_id)
            answer = self._answer(key[1], *self._running.pop(key), "abort")
            self._outputs.append(StepOutput(request_id, [], "", answer, key[1]))

    def flush_cache(self) -> None:
        self._note()
        self.flushed += 1

    def has_work(self) -> bool:
        return bool(self._running or self._outputs)

    def step(self) -> list[StepOutput]:
        self._note()
        assert self.go.wait(30)
        self._steps += 1
        outputs, self._outputs = self._outputs, []
        self.batches.append(len(self._running))
        for (name, index), (request, ids, done) in list(self._running.items()):
            text = request.text or self.tokenizer.decode(ids)
            if text.startswith("die"):
                raise ZeroDivisionError("the echo engine was told to die")
            done.append(ids[len(done)])
            fails = text.startswith("fail") and len(done) == 3 and index == request.sampling.n - 1
            reason = "error" if fails else "length"
            answer = self._answer(index, request, ids, done, reason) if fails or done == ids else None
            logprobs = [LOGPROB] if request.want_logprobs else []
            outputs.append(StepOutput(name, done[-1:], self.tokenizer.decode(done[-1:]), answer, index, logprobs))
            if answer is not None:
                del self._running[name, index]
        return outputs

    def close(self) -> None:
        self._note()
        self.closed += 1

    def counters(self) -> dict[str, float]:
        return {"running": len(self._running), "blocks_total": 8, "steps_total": self._steps,
                'requests_finished_total{reason="abort"}': len(self.aborted)}  # fmt: skip

    def _answer(self, index: int, request: Request, ids: list[int], done: list[int], reason: Any) -> Answer:
        error = RequestError("image_data[0]", "failed as asked", status=500) if reason == "error" else None
        logprobs = [LOGPROB] * len(done) if request.want_logprobs else None
        text = "".join(self.tokenizer.decode([token]) for token in done)
        start = request.logprob_start
        prompt = None if start is None else [LOGPROB if place else None for place in range(start, len(ids))]
        return Answer(
            request.request_id, list(done), text, reason, len(ids), token_logprobs=logprobs, prompt_logprobs=prompt,
            error=error, index=index,
        )  # fmt: skip

    def _note(self) -> None:
        self.threads.add(threading.current_thread().name)


@pytest.fixture
def echo() -> EchoEngine:
    return EchoEngine()


@contextmanager
def served(engine: Any, limits: Limits, key: str | None = None) -> Iterator[httpx2.Client]:
    """The app on a real port, in a thread of this process."""
    with Listener("127.0.0.1", 0) as listener:
        listener.listen()
        config = configured(create_app(engine, limits, key), limits, drain_seconds=2)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener.socket]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            with httpx2.Client(base_url=listener.url, timeout=30, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(10)
    assert not thread.is_alive()


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def serve() -> Callable[..., AbstractContextManager[httpx2.Client]]:
    return lambda engine, key=None, **limits: served(engine, Limits(**limits), key)


@pytest.fixture
def client(echo: EchoEngine) -> Iterator[httpx2.Client]:
    with served(echo, Limits(max_body_mb=1, max_batch=4)) as client:
        yield client


def data_uri(image: Image.Image, kind: str = "png", **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


@pytest.fixture(scope="session")
def uri() -> Callable[..., str]:
    return data_uri


@pytest.fixture(scope="session")
def model() -> Path:
    return resolve_model(os.environ.get("ASSAY_TEST_MODEL", "sentinel-qwen2.5-vl"))


@pytest.fixture(scope="module")
def engine(model: Path) -> Engine:
    return Engine(EngineConfig(model=str(model), num_blocks=256))


@pytest.fixture
def real(engine: Engine) -> Iterator[httpx2.Client]:
    """A client of a server over that engine."""
    with served(engine, Limits()) as client:
        yield client


@pytest.fixture(scope="session")
def tokenizer(model: Path) -> Any:
    """The sentinel's own."""
    from reference_engine import hf

    return hf.transformers.AutoTokenizer.from_pretrained(model, local_files_only=True)
