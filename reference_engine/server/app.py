"""The routes. Each does one thing; what a call is made of is in the modules that they name.

>>> app = create_app(engine, Limits())     # an ASGI application; its lifespan starts and ends the engine's thread
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest

from reference_engine.errors import RequestError
from reference_engine.server.bodies import read_small_body
from reference_engine.server.calls import Desk
from reference_engine.server.chat import ChatPrompts
from reference_engine.server.completions import read_completions
from reference_engine.server.control import (
    AbortBody,
    DetokenizeBody,
    TokenizeBody,
    answer_abort,
    answer_detokenize,
    answer_tokenize,
    probe,
)
from reference_engine.server.errors import ClientGone, error_body, error_response, plain_error_body
from reference_engine.server.field_types import Body
from reference_engine.server.keys import KeyRequired
from reference_engine.server.limits import Limits
from reference_engine.server.metrics import MetricsPage
from reference_engine.server.native import read_generate
from reference_engine.server.openai import read_chat
from reference_engine.server.openapi import ERRORS, EVENTS, body_of, describe_bodies
from reference_engine.server.predicting import PredictGenerate, answer_predict
from reference_engine.server.protocol import ChatBody, CompletionBody, GenerateBody
from reference_engine.server.seams import ServingSeams, plant_serving
from reference_engine.server.worker import EngineWorker, ServedEngine

logger = logging.getLogger(__name__)
PACKAGES = ("vlm-assay", "torch", "transformers", "tokenizers", "numpy", "pillow", "fastapi", "uvicorn")
CLIENT_CLOSED_REQUEST = 499
BODIES: tuple[type[Body], ...] = (
    GenerateBody, ChatBody, CompletionBody, PredictGenerate, TokenizeBody, DetokenizeBody, AbortBody,
)  # fmt: skip
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def create_app(engine: ServedEngine, limits: Limits, key: str | None = None) -> FastAPI:
    """With ``key``, all but ``/health`` is for those who have it."""
    worker = EngineWorker(engine)
    seams = plant_serving(engine.config.plant)
    desk = Desk(worker, limits, seams)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        await worker.stop()
        desk.close()

    app = FastAPI(title="Assay reference engine", lifespan=lifespan, docs_url=None, redoc_url=None, responses=ERRORS)
    app.state.abort_all = partial(worker.abort, None)
    prompts = ChatPrompts(engine.codec)
    _add_answers(app, engine, desk, limits, seams, prompts)
    _add_control(app, engine, worker, desk, limits, prompts)
    _add_pages(app, engine, worker, limits)
    _add_errors(app)
    if key is not None:
        app.add_middleware(KeyRequired, key=key)
    return app


def _add_answers(
    app: FastAPI, engine: ServedEngine, desk: Desk, limits: Limits, seams: ServingSeams, prompts: ChatPrompts
) -> None:
    chat = partial(read_chat, engine=engine, prompts=prompts, limits=limits, seams=seams)
    predict = partial(answer_predict, places=engine, prompts=prompts, limits=limits)
    native = partial(read_generate, engine=engine, prompts=prompts, limits=limits, seams=seams)
    completions = partial(read_completions, engine=engine, max_batch=limits.max_batch)

    @app.post("/generate", responses=EVENTS, openapi_extra=body_of(GenerateBody))
    async def generate(http: HttpRequest) -> Response:
        return await desk.serve(http, native, GenerateBody)

    @app.post("/v1/chat/completions", responses=EVENTS, openapi_extra=body_of(ChatBody))
    async def chat_completions(http: HttpRequest) -> Response:
        return await desk.serve(http, chat, ChatBody)

    @app.post("/v1/completions", responses=EVENTS, openapi_extra=body_of(CompletionBody))
    async def text_completions(http: HttpRequest) -> Response:
        return await desk.serve(http, completions, CompletionBody)

    @app.post("/predict", openapi_extra=body_of(PredictGenerate))
    async def predict_prompt(http: HttpRequest) -> Response:
        return await desk.tell(http, predict)

    describe_bodies(app, BODIES)


def _add_control(
    app: FastAPI, engine: ServedEngine, worker: EngineWorker, desk: Desk, limits: Limits, prompts: ChatPrompts
) -> None:
    tokenizing = partial(answer_tokenize, engine=engine, prompts=prompts)
    detokenizing = partial(answer_detokenize, engine=engine)

    @app.post("/tokenize", openapi_extra=body_of(TokenizeBody))
    async def tokenize(http: HttpRequest) -> Response:
        return await desk.tell(http, tokenizing)

    @app.post("/detokenize", openapi_extra=body_of(DetokenizeBody))
    async def detokenize(http: HttpRequest) -> Response:
        return await desk.tell(http, detokenizing)

    @app.post("/abort_request", include_in_schema=False)  # SGLang's name for it
    @app.post("/abort", openapi_extra=body_of(AbortBody))
    async def abort(http: HttpRequest) -> Response:
        return JSONResponse(answer_abort(await read_small_body(http, limits), worker))

    @app.post("/flush_cache")
    async def flush_cache(http: HttpRequest) -> Response:
        await worker.flush_cache()
        return JSONResponse({"status": "ok"})

    @app.get("/health_generate")
    async def health_generate() -> Response:
        await probe(engine, worker, limits.health_seconds)
        return JSONResponse({"status": "ok"})


def _add_pages(app: FastAPI, engine: ServedEngine, worker: EngineWorker, limits: Limits) -> None:
    metrics = MetricsPage(worker)
    started = int(time.time())

    @app.get("/health")
    async def health() -> Response:
        if worker.alive:
            return JSONResponse({"status": "ok"})
        return error_response(503, plain_error_body(503, f"engine: {worker.why_stopped()}", "engine"))

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics_page() -> Response:
        return Response(metrics.text(), media_type=METRICS_TYPE)

    @app.get("/v1/models")
    async def models() -> Response:
        card = {"id": engine.config.model, "object": "model", "created": started, "owned_by": "assay"}
        return JSONResponse({"object": "list", "data": [card]})

    @app.get("/server_info")
    async def server_info() -> Response:
        return JSONResponse(describe(engine, limits))


def describe(engine: ServedEngine, limits: Limits) -> dict[str, Any]:
    """What runs here: for run records, so that a verdict can be traced to its settings."""
    config = engine.config
    return {
        "engine": "assay-reference",
        "model": config.model,
        "toggles": config.toggle_settings(),
        "plant": config.plant,
        "config": asdict(config),
        "limits": asdict(limits),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def refused(http: HttpRequest, error: RequestError) -> Response:
        return error_response(error.status, error_body(error))

    @app.exception_handler(HTTPException)
    async def not_a_route(http: HttpRequest, error: HTTPException) -> Response:
        message = f"{http.method} {http.url.path}: {error.detail}"
        return JSONResponse(plain_error_body(error.status_code, message), error.status_code, headers=error.headers)

    @app.exception_handler(ClientGone)
    async def gone(http: HttpRequest, error: ClientGone) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    @app.exception_handler(Exception)
    async def failed(http: HttpRequest, error: Exception) -> Response:
        logger.error("%s %s failed", http.method, http.url.path, exc_info=error)
        message = f"the server failed on this call: {type(error).__name__}; its log says where"
        return error_response(500, plain_error_body(500, message))
