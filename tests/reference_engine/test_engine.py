"""What the loop promises about requests one by one: refusals, stops, aborts, failures that stay where they happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from reference_engine import EncoderMismatch, Request, RequestError, SamplingParams

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
ENDLESS = SamplingParams(max_new_tokens=40, ignore_eos=True)


@pytest.fixture
def engine(lively: Any) -> Iterator[Any]:
    """Idle before and after; a test that leaves blocks behind fails."""
    engine = lively.engine()
    yield engine
    while engine.has_work():
        engine.step()
    engine.cache.check_idle()


def refusal(engine: Any, **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        engine.submit(Request("refused", **fields))
    assert not engine.has_work()
    return caught.value


@pytest.mark.parametrize(
    ("ids", "field", "words"),
    [
        ([5, 6, 1024], "input_ids[2]", "1024 is not in the vocabulary (0 to 1023)"),
        ([5, -1], "input_ids[1]", "-1"),
        ([5, 2**63], "input_ids[1]", str(2**63)),
        ([5, True], "input_ids[1]", "True is not an integer"),
        ([5, 1.0], "input_ids[1]", "1.0 is not an integer"),
        ([], "input_ids", "empty"),
        ([5, 1023], "input_ids", "1 video placeholder"),
    ],
)
def test_bad_ids_are_named(engine: Any, ids: list[Any], field: str, words: str) -> None:
    error = refusal(engine, input_ids=ids)
    assert error.field == field
    assert words in error.message


@pytest.mark.parametrize(
    ("text", "images", "words"),
    [
        ("no placeholder", 1, "holds 0 image placeholder(s) but the request has 1 image(s)"),
        (IMAGE, 0, "holds 1 image placeholder(s) but the request has 0 image(s)"),
        (IMAGE * 3, 2, "holds 3 image placeholder(s) but the request has 2 image(s)"),
        (f"{IMAGE} what is <|image_pad|>?", 1, "holds 2 image placeholder(s) but the request has 1 image(s)"),
    ],
)
def test_placeholders_and_images_must_match(engine: Any, picture: Any, text: str, images: int, words: str) -> None:
    error = refusal(engine, text=text, images=[picture((56, 56), i) for i in range(images)])
    assert error.status == 422
    assert words in error.message
    ids = engine.tokenizer(text)["input_ids"]
    error = refusal(engine, input_ids=ids, images=[picture((56, 56), i) for i in range(images)])
    assert error.status == 422
    assert words in error.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 0), ("max_new_tokens", 1.5), ("temperature", -0.1), ("temperature", float("nan")),
        ("temperature", 1e39),
        ("top_p", 0.0), ("top_p", 1.1), ("top_k", 0), ("seed", -1), ("seed", 2**63), ("stop", ("",)), ("stop", "text"),
        ("stop_token_ids", 5), ("min_new_tokens", -1), ("min_new_tokens", 129),
        ("min_p", 1.5), ("min_p", float("nan")), ("repetition_penalty", 0.0), ("repetition_penalty", float("inf")),
        ("presence_penalty", 2.5), ("frequency_penalty", "1"), ("logit_bias", {5: 101.0}),
        ("logit_bias", {5: float("nan")}), ("logit_bias", [5]), ("no_stop_trim", 1), ("ignore_eos", None),
    ],
)  # fmt: skip
def test_bad_sampling_values_are_named(engine: Any, name: str, value: Any) -> None:
    error = refusal(engine, text="hello", sampling=replace(SamplingParams(), **{name: value}))
    assert error.field == f"sampling_params.{name}"
    assert repr(value) in error.message


@pytest.mark.parametrize(("name", "value"), [("stop_token_ids", (5, 4096)), ("logit_bias", {4096: 1.0})])
def test_ids_of_sampling_that_are_not_in_the_vocabulary_are_named(engine: Any, name: str, value: Any) -> None:
    error = refusal(engine, text="hello", sampling=replace(SamplingParams(), **{name: value}))
    assert str(error) == f"sampling_params.{name}: 4096 is not an id from 0 to 1023"
    everything = SamplingParams(min_new_tokens=1, stop_token_ids=tuple(range(1024)))
    assert "every id of the vocabulary ends" in refusal(engine, text="hello", sampling=everything).message


def test_a_size_that_cannot_be_served_names_the_image(engine: Any, picture: Any) -> None:
    images = [picture((28, 28), 0), picture((3000, 10), 0)]
    error = refusal(engine, text=IMAGE * 2, images=images)
    assert error.field == "image_data[1]"
    assert "3000x10" in error.message


def test_too_large_for_the_pool_or_the_context(lively: Any) -> None:
    engine = lively.engine(num_blocks=4, block_size=4)
    error = refusal(engine, input_ids=[5] * 17, sampling=SamplingParams(max_new_tokens=1))
    assert (error.status, error.field) == (413, "input_ids")
    assert "need 5 KV blocks; the pool has 4" in error.message
    assert (
        engine.generate([Request("fits", input_ids=[5] * 16, sampling=SamplingParams(max_new_tokens=1))])[0].error
        is None
    )
    error = refusal(lively.engine(), input_ids=[5] * 4000, sampling=SamplingParams(max_new_tokens=97))
    assert "exceed the context of 4096" in error.message
    error = refusal(lively.engine(max_prompt_tokens=100), text=IMAGE * 3, images=[white(200)] * 3)
    assert (error.status, error.field) == (413, "text")
    error = refusal(lively.engine(max_image_pixels=100 * 100), text=IMAGE, images=[white(101)])
    assert (error.status, error.field) == (413, "image_data[0]")
    error = refusal(lively.engine(max_images=2), text=IMAGE * 3, images=[white(28)] * 3)
    assert (error.status, error.field) == (413, "image_data")


def white(side: int) -> Any:
    from PIL import Image

    return Image.new("RGB", (side, side), "white")


def test_a_request_id_in_use_is_refused(engine: Any) -> None:
    engine.submit(Request("a", text="hello", sampling=ENDLESS))
    with pytest.raises(RequestError, match="'a' is already in use"):
        engine.submit(Request("a", text="hello"))
    assert engine.counters()["waiting"] == 1
    engine.abort("a")


def test_generate_reports_refusals_in_place(engine: Any) -> None:
    requests = [
        Request("good", text="hello", sampling=ENDLESS),
        Request("bad", input_ids=[9999]),
        Request("too", text="read"),
    ]
    good, bad, too = engine.generate(requests)
    assert [good.finish_reason, bad.finish_reason, too.finish_reason] == [
        "length",
        "error",
        "stop" if too.matched else "length",
    ]
    assert bad.error.field == "input_ids[0]"


def test_stop_string_ends_the_text_before_it(engine: Any) -> None:
    whole = engine.generate([Request("w", text="hello", sampling=ENDLESS)])[0]
    stop = whole.text[11:15]
    cut = engine.generate([Request("c", text="hello", sampling=replace(ENDLESS, stop=("never found", stop)))])[0]
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert (cut.finish_reason, cut.matched) == ("stop", stop)
    assert cut.output_ids == whole.output_ids[: len(cut.output_ids)]
    assert len(cut.output_ids) < len(whole.output_ids)


def test_a_stop_string_that_only_the_end_completes_is_told(engine: Any) -> None:
    """The last token leaves half a character, which is U+FFFD once nothing follows."""
    for seed in range(80):
        sampling = SamplingParams(max_new_tokens=6, temperature=5.0, seed=seed, ignore_eos=True)
        [whole] = engine.generate([Request("w", text="hello", sampling=sampling)])
        if whole.text.find("\ufffd") == len(whole.text) - 1:
            break
    [cut] = engine.generate([Request("c", text="hello", sampling=replace(sampling, stop=("\ufffd",)))])
    assert whole.text == f"{cut.text}\ufffd"
    assert (cut.finish_reason, cut.matched) == ("stop", "\ufffd")


def test_stop_ids_count_but_do_not_show(engine: Any) -> None:
    whole = engine.generate([Request("w", text="hello", sampling=ENDLESS)])[0]
    stop = whole.output_ids[5]
    first = whole.output_ids.index(stop)
    cut = engine.generate([Request("c", text="hello", sampling=replace(ENDLESS, stop_token_ids=(stop,)))])[0]
    assert cut.output_ids == whole.output_ids[: first + 1]
    assert (cut.finish_reason, cut.matched) == ("stop", stop)
    assert whole.text.startswith(cut.text)


def test_streamed_texts_and_ids_join_to_the_answer(engine: Any) -> None:
    for seed, stop in ((1, ()), (2, ("a", "the")), (3, ("\n",))):
        sampling = SamplingParams(max_new_tokens=60, temperature=3.0, seed=seed, stop=stop)
        engine.submit(Request("s", text="hello", sampling=sampling, want_logprobs=True))
        outputs = []
        while engine.has_work():
            outputs += engine.step()
        answer = outputs[-1].answer
        assert [o.answer for o in outputs[:-1]] == [None] * (len(outputs) - 1)
        assert "".join(o.new_text for o in outputs) == answer.text
        assert [i for o in outputs for i in o.new_ids] == answer.output_ids
        assert len(answer.logprobs) == len(answer.output_ids) == answer.completion_tokens
        assert answer.text == answer.text.split(answer.matched)[0] if isinstance(answer.matched, str) else True


def test_text_equals_the_tokenizers_own(engine: Any) -> None:
    for seed in range(8):
        sampling = SamplingParams(max_new_tokens=80, temperature=5.0, seed=seed, ignore_eos=True)
        answer = engine.generate([Request("t", text="hello", sampling=sampling)])[0]
        assert answer.text == engine.tokenizer.decode(answer.output_ids, skip_special_tokens=True)


def test_a_sampled_placeholder_is_plain_text(lively: Any, make_case: Any, picture: Any, monkeypatch: Any) -> None:
    """A model that keeps sampling image_pad, beside a request whose image is being filled in chunks."""
    engine = lively.engine(chunked_prefill=5)
    image_id = lively.oracle.model.config.image_token_id
    cases = [make_case("hello", [], 12, True), make_case(f"{IMAGE}read", [picture((140, 140), 1)], 4, True)]
    expected = lively.oracle.generate(cases[1])
    clean = engine.runner.decoder.logits

    def prefer_placeholder(hidden: torch.Tensor) -> torch.Tensor:
        logits = clean(hidden)
        if engine.scheduler.running[0].id == "text":  # it decodes first in every step
            logits[0, image_id] = 1e6
        return logits

    monkeypatch.setattr(engine.runner.decoder, "logits", prefer_placeholder)
    engine.submit(cases[0].request("text"))
    engine.step()
    engine.submit(cases[1].request("image"))
    answers = {}
    while engine.has_work():
        answers |= {o.request_id: o.answer for o in engine.step() if o.answer}
    assert answers["text"].output_ids == [image_id] * 12
    assert answers["text"].text == ""
    assert answers["text"].finish_reason == "length"
    assert answers["image"].output_ids == expected.ids


def test_typed_placeholder_letters_are_plain_ids(engine: Any, make_case: Any, picture: Any) -> None:
    """Ids that merely spell the placeholder stay what they are, beside a real image."""
    spelled = [i for piece in ("<|image", "_pad|>") for i in engine.tokenizer(piece)["input_ids"]]
    case = make_case("", [picture((56, 84), 0)])
    ids = [5, *engine.tokenizer(IMAGE)["input_ids"], *spelled]
    prompt = engine.prepare(Request("p", input_ids=ids, images=case.images))
    assert prompt.ids[-len(spelled) :] == spelled
    assert prompt.items[0].spans == [(2, 7)]


def test_requests_may_arrive_at_any_step(lively: Any, make_cases: Any) -> None:
    cases = make_cases(12, seed=8)
    expected = [lively.oracle.generate(case) for case in cases]
    engine = lively.engine(chunked_prefill=16)
    answers: dict[str, Any] = {}
    mixed = 0
    arriving = [case.request(str(i)) for i, case in enumerate(cases)]
    while arriving or engine.has_work():
        if arriving:
            engine.submit(arriving.pop(0))
        mixed += len({chunk.is_decode for chunk in engine.scheduler.schedule()}) == 2
        answers |= {o.request_id: o.answer for o in engine.step() if o.answer}
    assert mixed > 0, "no step mixed prompt and decode"
    assert [answers[str(i)].output_ids for i in range(len(cases))] == [e.ids for e in expected]


def test_abort_frees_everything_and_answers(engine: Any, picture: Any) -> None:
    engine.submit(
        Request("runs", text=f"{IMAGE}read", images=[picture((140, 140), 0)], sampling=ENDLESS, want_evidence=True)
    )
    engine.submit(Request("other", text="hello", sampling=ENDLESS))
    for _ in range(4):
        engine.step()
    engine.submit(Request("waits", text="hello", sampling=ENDLESS))
    engine.abort("waits")
    engine.abort("runs")
    engine.abort("unknown")
    answers = {o.request_id: o.answer for o in engine.step() if o.answer}
    assert {name: a.finish_reason for name, a in answers.items()} == {"waits": "abort", "runs": "abort"}
    assert len(answers["runs"].output_ids) == 4
    assert answers["runs"].evidence.prefill_chunks == 1
    engine.abort("other")
    engine.step()
    assert not engine.has_work()
    assert engine.counters()["blocks_free"] == engine.counters()["blocks_total"]


def test_a_full_pool_waits_and_progresses(lively: Any, make_cases: Any) -> None:
    cases = make_cases(15, seed=21, max_images=1)
    expected = [lively.oracle.generate(case) for case in cases]
    engine = lively.engine(num_blocks=14, block_size=8)
    for i, case in enumerate(cases):
        engine.submit(case.request(str(i)))
    answers: dict[str, Any] = {}
    most_waiting = 0
    while engine.has_work():
        outputs = engine.step()
        assert outputs
        most_waiting = max(most_waiting, engine.counters()["waiting"])
        answers |= {o.request_id: o.answer for o in outputs if o.answer}
    assert most_waiting > 5
    assert [answers[str(i)].output_ids for i in range(len(cases))] == [e.ids for e in expected]


@pytest.mark.parametrize("vit_batching", ["per_item", "cross_request"])
def test_a_wrong_row_count_fails_one_request(lively: Any, make_cases: Any, monkeypatch: Any, vit_batching: str) -> None:
    cases = [case for case in make_cases(30, seed=9, sizes=[(84, 56), (56, 56), (112, 84)]) if case.images][:8]
    engine = lively.engine(vit_batching=vit_batching)
    alone = [engine.generate([case.request("a")])[0] for case in cases]
    engine.flush_cache()
    victim = engine.prepare(cases[3].request("v")).items[-1]
    clean = engine.vision.encoder

    def short(items: Any) -> list[list[torch.Tensor]]:
        rows = clean(items)
        for item, spans in zip(items, rows, strict=True):
            if same_pixels(item, victim):
                spans[-1] = spans[-1][:-1]
        return rows

    monkeypatch.setattr(engine.vision, "encoder", short)
    answers = engine.generate([case.request(str(i)) for i, case in enumerate(cases)])
    assert [a.finish_reason == "error" for a in answers] == [i == 3 for i in range(8)]
    error = answers[3].error
    assert isinstance(error, EncoderMismatch)
    assert (error.item, error.rows, error.status) == (len(cases[3].images) - 1, error.expected - 1, 500)
    assert [a.output_ids for i, a in enumerate(answers) if i != 3] == [
        a.output_ids for i, a in enumerate(alone) if i != 3
    ]


def same_pixels(one: Any, other: Any) -> bool:
    return torch.equal(one.pixels["pixel_values"], other.pixels["pixel_values"])


def test_an_encoder_that_raises_fails_one_request(lively: Any, make_cases: Any, monkeypatch: Any, caplog: Any) -> None:
    cases = [case for case in make_cases(30, seed=9, sizes=[(84, 56), (56, 56)]) if case.images][:5]
    engine = lively.engine()
    alone = [engine.generate([case.request("a")])[0] for case in cases]
    engine.flush_cache()
    victim = engine.prepare(cases[2].request("v")).items[0]
    clean = engine.vision.encoder

    def picky(items: Any) -> list[list[torch.Tensor]]:
        if any(same_pixels(item, victim) for item in items):
            raise RuntimeError("out of memory")
        return clean(items)

    monkeypatch.setattr(engine.vision, "encoder", picky)
    answers = engine.generate([case.request(str(i)) for i, case in enumerate(cases)])
    assert [a.finish_reason == "error" for a in answers] == [i == 2 for i in range(5)]
    assert "out of memory" in str(answers[2].error)
    assert [a.output_ids for i, a in enumerate(answers) if i != 2] == [
        a.output_ids for i, a in enumerate(alone) if i != 2
    ]
    assert "encoding them one by one" in caplog.text


def test_nan_logits_fail_one_request_and_leave_no_trace(lively: Any, make_cases: Any, monkeypatch: Any) -> None:
    cases = make_cases(6, seed=31)
    engine = lively.engine(num_blocks=200)
    alone = [engine.generate([case.request("a")])[0] for case in cases]
    clean = engine.runner.decoder.embed
    engine.flush_cache()
    poison = torch.tensor(engine.prepare(cases[1].request("v")).ids)

    def poisoned(ids: torch.Tensor) -> torch.Tensor:
        x = clean(ids)
        for start in range(len(ids) - len(poison) + 1):
            if torch.equal(ids[start : start + len(poison)], poison):
                x[start] = float("nan")
        return x

    monkeypatch.setattr(engine.runner.decoder, "embed", poisoned)
    answers = engine.generate([case.request(str(i)) for i, case in enumerate(cases)])
    assert [a.finish_reason == "error" for a in answers] == [i == 1 for i in range(6)]
    assert "NaN" in str(answers[1].error)
    again = engine.generate([case.request(str(i)) for i, case in enumerate(cases) if i != 1])
    expected = [a.output_ids for i, a in enumerate(alone) if i != 1]
    assert [a.output_ids for i, a in enumerate(answers) if i != 1] == expected
    assert [a.output_ids for a in again] == expected


def test_seeds_make_sampling_repeat_in_any_batch(engine: Any) -> None:
    sampling = SamplingParams(max_new_tokens=20, temperature=1.5, top_k=50, top_p=0.95, seed=7, ignore_eos=True)
    seeded = Request("seeded", text="hello", sampling=sampling)
    alone = engine.generate([seeded])[0]
    others = [Request(str(i), text="read " * i, sampling=replace(sampling, seed=i)) for i in range(1, 6)]
    batched = engine.generate([*others, seeded])
    assert batched[-1].output_ids == alone.output_ids
    assert len({tuple(a.output_ids) for a in batched}) == 6


def test_toggles_report_whether_they_acted(lively: Any, picture: Any) -> None:
    tokenizer = lively.oracle.tokenizer
    canonical = tokenizer(f"{IMAGE}Describe")["input_ids"]
    split = [*tokenizer(f"{IMAGE}D")["input_ids"], *tokenizer("escribe")["input_ids"]]
    assert len(split) > len(canonical)
    images = [picture((56, 84), 0)]
    for avoid in (True, False):
        engine = lively.engine(avoid_retokenize=avoid, chunked_prefill=4, encoder_cache=False)
        requests = [
            Request(name, input_ids=ids, images=images, want_evidence=True, sampling=SamplingParams(max_new_tokens=1))
            for name, ids in (("canonical", canonical), ("split", split))
        ]
        same, drifts = engine.generate(requests)
        assert [a.evidence.toggles["avoid_retokenize"]["acted"] for a in (same, drifts)] == [False, True]
        assert drifts.prompt_tokens == len(split) + 5 if avoid else drifts.prompt_tokens == len(canonical) + 5
        assert same.evidence.toggles["vit_batching"]["acted"]
        assert same.evidence.encoder_batch == 2
        assert same.evidence.toggles["chunked_prefill"] == {
            "setting": 4, "acted": True, "reason": f"the prompt was filled in {same.evidence.prefill_chunks} chunk(s)",
        }  # fmt: skip


def test_counters_add_up(lively: Any, make_cases: Any) -> None:
    engine = lively.engine(num_blocks=300)
    before = engine.counters()
    cases = make_cases(10, seed=40)
    answers = engine.generate([case.request(str(i)) for i, case in enumerate(cases)])
    grown = {name: value - before[name] for name, value in engine.counters().items()}
    assert grown["prompt_tokens_total"] == sum(a.prompt_tokens for a in answers)
    assert grown["generation_tokens_total"] == sum(a.completion_tokens for a in answers)
    assert grown["encoder_items_total"] == sum(len(c.images) for c in cases)
    assert grown["encoder_passes_total"] == 1
    assert sum(value for name, value in grown.items() if name.startswith("requests_finished_total")) == 10
    assert grown["running"] == grown["waiting"] == grown["blocks_free"] == 0
