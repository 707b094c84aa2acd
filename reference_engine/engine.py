"""The engine: admit -> encode -> schedule -> run -> sample -> emit, one step at a time, in one thread.

Requests may be submitted or aborted between any two steps. What is wrong with a request is found when it is submitted
(:class:`RequestError`) or ends that request alone, as an answer with ``finish_reason == "error"``; its neighbours
neither wait for it nor change. Nothing here knows about HTTP, and nothing here is safe to call from two threads at
once except :meth:`Engine.prepare`.

>>> engine = Engine(EngineConfig(model="sentinel-qwen2.5-vl"))
>>> [answer] = engine.generate([Request("a", text="<|im_start|>user\\nhello<|im_end|>\\n<|im_start|>assistant\\n")])
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from reference_engine.config import EngineConfig
from reference_engine.device import use
from reference_engine.encoder_cache import count_rows
from reference_engine.encoder_passes import EncoderPasses
from reference_engine.encoder_stream import choose_encoder_stream
from reference_engine.errors import RequestError
from reference_engine.evidence import build_evidence
from reference_engine.faults import plant
from reference_engine.grammar import Grammars
from reference_engine.graphs import choose_recorder
from reference_engine.integrity import check_scheduler
from reference_engine.live_request import LiveRequest, cached_tokens
from reference_engine.loading import load
from reference_engine.logprobs import check_start
from reference_engine.model_runner import ModelRunner
from reference_engine.multimodal.mrope import positions_digest
from reference_engine.multimodal.placing import PlacingSeams, PromptPlacer, prompt_field
from reference_engine.multimodal.prompt import PreparedPrompt, PromptBuilder, PromptSeams
from reference_engine.parallel.driver import WorkerLost
from reference_engine.prefix_cache import KeyChain
from reference_engine.request import Answer, FinishReason, Request, StepOutput
from reference_engine.sampler import NOT_FINITE, Sampled
from reference_engine.sampling_params import seed_of
from reference_engine.scheduler import Chunk, Scheduler
from reference_engine.vision import VisionStage

logger = logging.getLogger(__name__)


class Engine:
    """One model, loaded; one queue; one loop. See the module's docstring."""

    @torch.inference_mode()
    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        use(config.device)
        self.seams = plant(config.plant)
        loaded = load(config, self.seams.detokenizer)
        self.geometry = loaded.geometry
        self.codec = loaded.codec
        self.family = loaded.family
        self.grammars = Grammars(loaded.codec, loaded.geometry.eos_ids)
        self._options = f"{self.family.name} slice_rows={config.slice_rows}"
        self.cache = loaded.cache
        placer = PromptPlacer(self.codec, self.family, config, self.seams.part(PlacingSeams))
        self.prompts = PromptBuilder(placer, self.seams.part(PromptSeams))
        encode = partial(self.seams.encode_pass, loaded.encode)
        self.vision = VisionStage(encode, config.vit_batching, self.seams.split_rows)
        self._close = loaded.close
        self.scheduler = Scheduler(config, self.cache, self.seams)
        stream = choose_encoder_stream(config.device, overlap=config.encoder_overlap)
        self.passes = EncoderPasses(self.vision, stream, self.scheduler.rows, self.prompts, self.seams.is_pending)
        recorder = choose_recorder(config.device) if config.cuda_graph else None
        self.runner = ModelRunner(loaded.decoder, self.cache, loaded.backend, self.seams, recorder)
        self._live: dict[str, list[LiveRequest]] = {}
        """The choices of each request that are not finished."""
        self._outputs: list[StepOutput] = []
        self._counts: Counter[str] = Counter()
        if config.plant is not None:
            logger.warning("fault %s is planted: answers are wrong on purpose", config.plant)
        self.seams.alter(self)

    @property
    def tokenizer(self) -> Any:
        """transformers' own tokenizer object; None with ``skip_tokenizer_init``."""
        return self.codec.tokenizer

    @property
    def placer(self) -> PromptPlacer:
        """Where everything in a prompt goes; may be asked from another thread."""
        return self.prompts.placer

    # -- requests in

    def prepare(self, request: Request) -> PreparedPrompt:
        """The prompt as it would run; may be called from another thread and handed to :meth:`submit`."""
        self.seams.check_sampling(request.sampling, self.geometry.vocabulary, self.geometry.eos_ids)
        self.codec.check_stops(request.sampling.stop)
        self.grammars.start(request.sampling)  # compiled here, off the loop
        prompt = self.prompts.build(request)
        self._check_room(request, prompt)
        check_start(request.logprob_start, len(prompt.ids))
        return self._with_keys(prompt)

    def _with_keys(self, prompt: PreparedPrompt) -> PreparedPrompt:
        """Content keys of its items and, from them, the keys of its KV blocks."""
        placed = positions_digest(prompt.positions_3L) if prompt.reuse.positions else ""
        options = f"{self._options} {placed}"
        items = [
            replace(i, key=self.seams.content_key(i.pixels, i.grids, f"{options} {i.modality} {i.strides}"))
            for i in prompt.items
        ]
        if not self.config.prefix_cache or self.family.traits.recurrent:
            return replace(prompt, items=items)
        values = [(item.spans, self.seams.pad_value(item.key)) for item in items]
        chain = KeyChain(self.cache.block_size)
        chain.extend(self.seams.build_padded_input_ids(prompt.ids, values))
        return replace(prompt, items=items, chain=chain)

    def submit(self, request: Request, prompt: PreparedPrompt | None = None) -> None:
        """Queue a request. Raises :class:`RequestError` at once for anything that can be known to be wrong."""
        if request.request_id in self._live:
            raise RequestError("request_id", f"{request.request_id!r} is already in use by a running request")
        prompt = prompt or self.prepare(request)
        if request.sampling.seed is None:
            request = replace(request, sampling=replace(request.sampling, seed=seed_of(request.sampling)))
        scores = None
        if request.logprob_start is not None:
            spans = [span for item in prompt.items for span in item.spans]
            scores = self.seams.prompt_logprobs(prompt.ids, spans, request.logprob_start, request.top_logprobs)
        self._live[request.request_id] = lives = [
            LiveRequest.start(
                request, prompt, self.seams.open_stream(self.codec.detokenizer(), request.sampling, prompt.ids),
                self.geometry.eos_ids, index, scores, self.seams.image_places(prompt),
                self.grammars.start(request.sampling),
            )
            for index in range(request.sampling.n)
        ]  # fmt: skip
        for live in lives:
            self.scheduler.add(live)

    def _check_room(self, request: Request, prompt: PreparedPrompt) -> None:
        prompt_length = len(prompt.ids)
        new = request.sampling.max_new_tokens
        what = f"{prompt_length} prompt tokens and {new} new ones"
        if prompt_length + new > self.geometry.context:
            too_long = f"{what} exceed the context of {self.geometry.context}"
            raise RequestError("sampling_params.max_new_tokens", too_long)
        needs, has = self.cache.blocks_for(cached_tokens(prompt_length, new)), self.cache.pool.total
        if needs > has:
            raise RequestError(prompt_field(request), f"{what} need {needs} KV blocks; the pool has {has}", status=413)
        rows = sum(map(count_rows, prompt.items))
        if rows > self.config.encoder_rows:
            message = f"the images take {rows} encoder rows; at most {self.config.encoder_rows} are held"
            raise RequestError("image_data", message, status=413)

    def abort(self, request_id: str) -> None:
        """End all choices of a request now; their answers so far come out of the next step. An id that is not running
        is ignored."""
        for live in list(self._live.get(request_id, ())):
            self._finish(live, "abort")

    def preempt(self, request_id: str) -> bool:
        """Take a running request's blocks, as a full pool would; it waits again and goes on where it was.

        Returns whether it was running.
        """
        running = [live for live in self._live.get(request_id, ()) if live.lane is not None]
        for live in running:
            self.scheduler.preempt(live)
        return bool(running)

    def flush_cache(self) -> None:
        """Forget everything that was kept for later requests. What runs goes on, and leaves nothing behind."""
        self.scheduler.flush()

    def close(self) -> None:
        """End the processes that share the model, if there are any. Nothing can run after it."""
        self._close()

    def has_work(self) -> bool:
        return bool(self._live or self._outputs)

    # -- the loop

    @torch.inference_mode()
    def step(self) -> list[StepOutput]:
        """One turn of the loop. Every step schedules a token or ends a request, as long as there is work.

        Raises :class:`~reference_engine.parallel.driver.WorkerLost` once a process that shares the model is gone."""
        use(self.config.device)
        self.scheduler.admit()
        self.passes.start(self.scheduler.running)
        self._take_encoded()
        chunks = self.scheduler.schedule()
        while not chunks and self.passes.under_way:
            self._take_encoded(wait=True)
            chunks = self.scheduler.schedule()
        if chunks:
            self._run(chunks)
        if not self._live:
            self.scheduler.check_idle()
        if self.config.check_every_step:
            self.check_integrity()
        outputs, self._outputs = self._outputs, []
        return self.seams.step_outputs(outputs)

    def generate(self, requests: Sequence[Request]) -> list[Answer]:
        """All requests as one continuous batch; answers in order, ``n`` for a request that asks for so many choices.
        A refused request comes back as one error answer."""
        if self.has_work():
            raise RuntimeError(f"generate() needs an idle engine; {len(self._live)} requests are running")
        if len({request.request_id for request in requests}) < len(requests):
            raise RequestError("request_id", "the requests do not all have ids of their own")
        answers: dict[str, list[Answer]] = {request.request_id: [] for request in requests}
        for request in requests:
            try:
                self.submit(request)
            except RequestError as error:
                answers[request.request_id].append(Answer(request.request_id, [], "", "error", 0, error=error))
        while self.has_work():
            for output in self.step():
                if output.answer is not None:
                    answers[output.request_id].append(output.answer)
        return [answer for made in answers.values() for answer in sorted(made, key=lambda answer: answer.index)]

    def check_integrity(self) -> None:
        """Raise :class:`~reference_engine.block_pool.BlockLeak` unless all books agree; between two steps, any time."""
        check_scheduler(self.scheduler)

    def counters(self) -> dict[str, float]:
        """Gauges and running totals, named as a metrics page would."""
        return {
            "running": len(self.scheduler.running),
            "waiting": len(self.scheduler.waiting),
            "blocks_free": self.cache.pool.free,
            "blocks_total": self.cache.pool.total,
            "blocks_cached": self.cache.pool.kept,
            "blocks_evicted_total": self.cache.pool.evictions,
            "encoder_rows_pinned": self.scheduler.rows.pinned_rows,
            "encoder_rows_cached": self.scheduler.rows.kept_rows,
            "encoder_rows_bytes": self.scheduler.rows.bytes,
            "encoder_cache_hits_total": self.scheduler.rows.hits,
            "encoder_cache_misses_total": self.scheduler.rows.misses,
            "encoder_cache_evicted_total": self.scheduler.rows.evictions,
            "preemptions_total": self.scheduler.preemptions,
            "encoder_passes_total": self.vision.passes,
            "encoder_items_total": self.vision.items,
            "encoder_seconds_total": self.vision.seconds,
            **{name: self._counts[name] for name in COUNTED},
            **{key: self._counts[key] for key in (finished_key(r) for r in ("stop", "length", "abort", "error"))},
        }

    def _take_encoded(self, *, wait: bool = False) -> None:
        """Rows that have come (see :meth:`EncoderPasses.take`). An item's error ends every request that has it."""
        self.passes.take(wait=wait)
        for live in [live for live in self.scheduler.running if live.needs_rows and not live.awaits_encoder]:
            wrong = live.take_rows()
            live.mark("encoded")
            if wrong is not None:
                logger.error("request %s: %s", live.id, wrong)
                self._finish(live, "error", error=wrong)

    def _run(self, chunks: list[Chunk]) -> None:
        """The forward pass and what follows from it. If the pass itself fails, so do the requests in it."""
        for chunk in chunks:
            chunk.live.mark("scheduled")
        if self.passes.under_way:
            for live in self.scheduler.running:
                live.overlapped += live.awaits_encoder
        sampling = self.seams.sampling_order(chunks)
        try:
            logits_NV = self.runner.run(chunks)
            results = self.seams.sample(logits_NV, [chunk.live.sampling for chunk in sampling])
        except WorkerLost:
            raise  # no later step can succeed: whoever runs the engine must know
        except Exception as error:
            logger.exception("a step over %d requests failed", len(chunks))
            for chunk in chunks:
                wrong = RequestError("engine", f"the forward pass failed: {error}", status=500)
                self._finish(chunk.live, "error", error=wrong, scrub=True)
            return
        self._counts["steps_total"] += 1
        for chunk in chunks:
            self._counts["prompt_tokens_total"] += 0 if chunk.is_decode else chunk.stop - chunk.start
            self.scheduler.advance(chunk)
        for chunk, result in zip(sampling, results, strict=True):
            scores = chunk.live.prompt_logprobs
            if isinstance(result, Sampled) and (scores is None or scores.are_numbers):
                self._emit(chunk.live, result)
            else:
                wrong = NOT_FINITE if isinstance(result, Sampled) else result
                self._finish(chunk.live, "error", error=wrong, scrub=True)

    def _emit(self, live: LiveRequest, sampled: Sampled) -> None:
        """Take the new token; end the request at an end token, a completed stop string or the last token allowed."""
        live.append(sampled)
        self._counts["generation_tokens_total"] += 1
        token, params = sampled.token, live.request.sampling
        output = StepOutput(live.id, [token], "", None, live.index, [sampled.logprob] if sampled.logprob else [])
        ends = token in live.sampling.end_ids
        if not ends or params.no_stop_trim:
            output.new_text = live.stream.push(token, may_stop=len(live.output_ids) > params.min_new_tokens)
            live.text.append(output.new_text)
        if ends:
            self._finish(live, "stop", matched=token, output=output)
        elif live.stream.matched is not None:
            self._finish(live, "stop", matched=live.stream.matched, output=output)
        elif len(live.output_ids) == params.max_new_tokens:
            self._finish(live, "length", output=output)
        else:
            self._outputs.append(output)

    def _finish(
        self, live: LiveRequest, reason: FinishReason, *, matched: int | str | None = None,
        error: RequestError | None = None, output: StepOutput | None = None, scrub: bool = False,
    ) -> None:  # fmt: skip
        """Take the request out, give its blocks back and queue its last output, which carries the answer."""
        output = output or StepOutput(live.id, [], "", None, live.index)
        rest = live.stream.finish()
        if reason == "length" and live.stream.matched is not None:  # by a character that never became whole
            reason, matched = "stop", live.stream.matched
        live.text.append(rest)
        live.mark("finished")
        self.scheduler.remove(live, scrub=scrub)
        self._live[live.id].remove(live)
        if not self._live[live.id]:
            del self._live[live.id]
        self._counts["prefix_tokens_total"] += live.cached_tokens
        self._counts["prefix_hits_total"] += live.cached_tokens > 0
        self._counts[finished_key(reason)] += 1
        output.new_text += rest
        output_ids, logprobs = self.seams.answer_tokens(live, self.codec)
        output.answer = Answer(
            request_id=live.id,
            output_ids=output_ids,
            text="".join(live.text),
            finish_reason=reason,
            prompt_tokens=live.prompt_length,
            index=live.index,
            token_logprobs=logprobs if live.request.want_logprobs else None,
            prompt_logprobs=live.prompt_logprobs.made if live.prompt_logprobs else None,
            matched=matched,
            error=error,
            queue_seconds=live.timings.get("scheduled"),
            evidence=build_evidence(live, self.config, self.codec) if live.request.want_evidence else None,
        )
        self._outputs.append(output)


COUNTED = ("prompt_tokens_total", "generation_tokens_total", "steps_total", "prefix_hits_total", "prefix_tokens_total")


def finished_key(reason: str) -> str:
    """Counter of requests that ended this way, labelled as Prometheus writes it."""
    return f'requests_finished_total{{reason="{reason}"}}'
