"""What a server speaks, found out by asking: each feature with one small request, and what it lacks with its own words.

>>> find_out(line, speaks := Speaks(), picture)
>>> speaks.need("images")     # raises Lacking with the reason where the server has none
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import UsageError
from harness.observation import Picture
from harness.probe.asking import TOPS, Ask, IdsWay, Reply, read_chat, read_stream
from harness.probe.line import Answer, Gone, Line
from harness.probe.outcomes import Lacking, Wrong

CHAT = "/v1/chat/completions"
HELLO = Ask.user("Say a word.", max_tokens=2)
PROMPT_IDS: tuple[Mapping[str, Any], ...] = (
    {"return_token_ids": True},
    {"return_prompt_token_ids": True, "return_meta_info": True},
)
"""vLLM's way to have ids back, then SGLang's (sglang#23751)."""
GREEDY_CHOICES = "greedy ones too"
VERSION_PAGES = (("/version", "version"), ("/server_info", "version"), ("/get_server_info", "version"))
VALID_ANYWHERE = ("images", "streams", "log-probabilities", "seeds", "several choices", "stop strings")
"""Features of OpenAI's own chat: a server without one says 4xx."""
NO_SUCH_PATH = (404, 405, 501)


@dataclass
class Speaks:
    model: str = "default"
    engine: str = "unknown engine"
    wants: dict[str, Any] = field(default_factory=dict)
    """Fields that have the evidence come along with a chat."""
    stream_wants: dict[str, Any] = field(default_factory=dict)
    has: dict[str, str] = field(default_factory=dict)
    """Feature -> how it is spelled here."""
    lacks: dict[str, str] = field(default_factory=dict)
    """Feature -> what the server said when it was asked for it."""
    ids_way: IdsWay | None = None
    tokenize_field: str = "prompt"

    def need(self, *features: str) -> None:
        """Raises where one of them is missing. To fail at a request, unlike to refuse it, is no way of lacking it."""
        for feature in features:
            if feature in self.has:
                continue
            why = self.lacks.get(feature, "not found")
            if why.startswith(("5", "no answer")) and feature in VALID_ANYWHERE:
                raise Wrong(f"asked for {feature}, the server fails: {why}")
            raise Lacking(f"the server lacks {feature}: {why}")


class Unspoken(UsageError):
    """No OpenAI-compatible server answers there."""


def find_out(line: Line, speaks: Speaks, picture: Picture, model: str | None = None) -> None:
    """Fills ``speaks``. Raises :class:`Unspoken` where nothing can be asked, saying what answered instead; where the
    probe or the server ends in the middle, ``speaks`` holds what was found so far.
    """
    try:
        listed = line.get("/v1/models")
    except Gone as error:
        raise Unspoken(f"url: {line.url}: {error}") from None
    _check_key(listed)
    data = listed.get("data")
    first = next((one for one in data if isinstance(one, Mapping)), {}) if isinstance(data, list) else {}
    speaks.model = model or str(first.get("id") or speaks.model)
    speaks.engine = _engine(line, str(first.get("owned_by", "")))
    _first_word(line, speaks, listed)
    for feature, ask in FEATURES.items():
        found = ask(line, speaks, picture)
        (speaks.lacks if found.startswith("!") else speaks.has)[feature] = found.removeprefix("!")


def _check_key(answer: Answer) -> None:
    if answer.status in (401, 403):
        raise Unspoken(
            f"url: the server asks for a key ({answer.status}): --api-key-env NAME_OF_A_VARIABLE that holds it"
        )


def _first_word(line: Line, speaks: Speaks, listed: Answer) -> None:
    answer = line.post(CHAT, HELLO.body({"model": speaks.model}))
    _check_key(answer)
    if answer.status == 0:
        raise Unspoken(f"url: {line.url} takes connections, but a chat of two words got {answer.told}")
    if not isinstance(answer.body, Mapping) or (answer.status in NO_SUCH_PATH and not listed.get("data")):
        said = f"GET /v1/models {listed.status or listed.told}, POST {CHAT} {answer.status}"
        raise Unspoken(f"url: {line.url} answers, but not as an OpenAI-compatible server ({said})")
    if not read_chat(answer).ok:
        raise Unspoken(f"url: {line.url} refuses a chat of two words: {answer.status}: {answer.told}")
    speaks.wants = {"model": speaks.model}


def _engine(line: Line, owner: str) -> str:
    name = {"llamacpp": "llama.cpp", "assay": "assay reference engine"}.get(owner, owner) or "unknown engine"
    for path, field_name in VERSION_PAGES:
        answer = line.get(path)
        versions = answer.get("versions")
        own = versions.get("vlm-assay") if isinstance(versions, Mapping) else None
        if answer.ok and (found := answer.get(field_name) or own):
            return f"{name} {found}"
    return name


def _chat(line: Line, speaks: Speaks, ask: Ask = HELLO, **more: Any) -> Reply:
    return read_chat(line.post(CHAT, ask.body(speaks.wants | more)))


def _refusal(reply: Reply) -> str:
    return f"!{reply.status or 'no answer'}: {reply.error}"


def _logprobs(line: Line, speaks: Speaks, picture: Picture) -> str:
    for wish in ({"logprobs": True, "top_logprobs": TOPS}, {"logprobs": True}):
        reply = _chat(line, speaks, **wish)
        if reply.ok and reply.first.logprobs:
            speaks.wants |= wish
            return f"top_logprobs {wish.get('top_logprobs', 'refused')}"
    return "!accepted, but not in the answer" if reply.ok else _refusal(reply)


def _prompt_ids(line: Line, speaks: Speaks, picture: Picture) -> str:
    said = "!accepted, but not in the answer"
    for wish in PROMPT_IDS:
        reply = _chat(line, speaks, **wish)
        if reply.ok and reply.prompt_ids:
            speaks.wants |= wish
            return ", ".join(wish)
        said = said if reply.ok else _refusal(reply)
    return said


def _answer_ids(line: Line, speaks: Speaks, picture: Picture) -> str:
    for wish in ({}, *PROMPT_IDS):
        reply = _chat(line, speaks, **wish)
        if reply.ok and reply.first.ids:
            speaks.wants |= wish
            return ", ".join(wish) or "beside the text"
    return "!not in the answer"


def _ignore_eos(line: Line, speaks: Speaks, picture: Picture) -> str:
    reply = _chat(line, speaks, ignore_eos=True)
    if not reply.ok:
        return _refusal(reply)
    speaks.wants["ignore_eos"] = True
    return "ignore_eos"


def _images(line: Line, speaks: Speaks, picture: Picture) -> str:
    reply = _chat(line, speaks, Ask.user(picture, "What is it?", max_tokens=2))
    return "data URIs in a chat" if reply.ok else _refusal(reply)


def _streams(line: Line, speaks: Speaks, picture: Picture) -> str:
    bare = {name: value for name, value in speaks.wants.items() if not name.startswith("return_")}
    said = ""
    for wants in (speaks.wants, bare):
        for usage in ({"stream_options": {"include_usage": True}}, {}):
            reply = read_stream(line.post(CHAT, HELLO.body(wants | {"stream": True} | usage)))
            if reply.ok:
                speaks.stream_wants = wants | {"stream": True} | usage
                return "with usage" if reply.usage else "without usage"
            said = said or _refusal(reply)
    return said


def _option(name: str, value: Any) -> Callable[[Line, Speaks, Picture], str]:
    def ask(line: Line, speaks: Speaks, picture: Picture) -> str:
        reply = _chat(line, speaks, **{name: value})
        return name if reply.ok else _refusal(reply)

    return ask


def _choices(line: Line, speaks: Speaks, picture: Picture) -> str:
    """Some servers give several drawn choices only."""
    greedy = _chat(line, speaks, n=2)
    if greedy.ok:
        return GREEDY_CHOICES
    drawn = _chat(line, speaks, n=2, temperature=1.0)
    return f"drawn ones only ({greedy.error})" if drawn.ok else _refusal(greedy)


def _tokenize(line: Line, speaks: Speaks, picture: Picture) -> str:
    said = "!"
    for name in ("prompt", "content"):
        sent = {name: "two words"} | ({"model": speaks.model} if name == "prompt" else {})
        answer = line.post("/tokenize", sent)
        if answer.ok and _is_ids(answer.get("tokens")):
            speaks.tokenize_field = name
            return f"POST /tokenize of {name}"
        said = f"!{answer.status or 'no answer'}: {answer.told}"
    return said


def _tokenize_chats(line: Line, speaks: Speaks, picture: Picture) -> str:
    answer = line.post("/tokenize", {"model": speaks.model, "messages": HELLO.messages()})
    tokens = answer.get("tokens")
    if answer.ok and _is_ids(tokens):
        return "POST /tokenize of messages"
    return f"!{answer.status or 'no answer'}: {answer.told}"


def _ids_in(line: Line, speaks: Speaks, picture: Picture) -> str:
    ids = [65, 66, 67]
    said: list[str] = []
    for way in _ways(speaks):
        answer = line.post(way.path, way.body(speaks.model, ids, (), 1))
        reply = way.read(answer)
        if reply.ok:
            speaks.ids_way = way
            return f"POST {way.path}{', pictures beside them' if way.pictures else ', text only'}"
        said.append(f"{way.path} {answer.status or answer.told}")
    return f"!{'; '.join(dict.fromkeys(said))}"


def _ways(speaks: Speaks) -> Iterator[IdsWay]:
    """Those that tell the prompt's ids first."""
    wishes: list[Mapping[str, Any]] = [*PROMPT_IDS, {"return_prompt_token_ids": True}, {}]
    yield IdsWay("/inference/v1/generate", True, {"return_token_ids": True})
    yield IdsWay("/generate", True, {"return_prompt_token_ids": True})
    yield IdsWay("/generate", True)
    yield from (IdsWay("/v1/completions", False, wish) for wish in wishes)


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, int) for one in value)


FEATURES: dict[str, Callable[[Line, Speaks, Picture], str]] = {
    "log-probabilities": _logprobs,
    "prompt ids": _prompt_ids,
    "answer ids": _answer_ids,
    "ignore_eos": _ignore_eos,
    "images": _images,
    "streams": _streams,
    "seeds": _option("seed", 7),
    "several choices": _choices,
    "stop strings": _option("stop", ["@@@"]),
    "tokenizing": _tokenize,
    "tokenizing chats": _tokenize_chats,
    "token ids in": _ids_in,
}
"""In this order: the later ones use what the earlier ones found."""
