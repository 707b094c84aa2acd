"""An engine of your own, in one file: everything that Assay must know of it.

Run it where this file lies with ``assay run token-drift --target own_engine:OwnEngine``, or give it a name that any
directory knows, in the ``pyproject.toml`` of your package::

    [project.entry-points."assay.targets"]
    own-engine = "own_engine:OwnEngine"

The one below is launched by a command, tells its address in its log, and speaks OpenAI's chat with ids (sglang#23751).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from harness.observation import Evidence, Observation, Prompt
from harness.targets.base import Call, Launch, LaunchLine, StreamEvent, Target
from harness.targets.wire import data_uris, failure
from harness.toggles import Spelling


class OwnEngine(Target):
    name: ClassVar[str] = "own-engine"
    spellings: ClassVar[Mapping[str, Spelling]] = {"prefix_cache": Spelling("--prefix-cache")}
    unsupported: ClassVar[Mapping[str, str]] = {"avoid_retokenize": "ids are always kept"}
    lacks: ClassVar[Mapping[Evidence, str]] = {"spans": "not told", "encoder_rows": "not told"}

    def launch_line(self, launch: Launch) -> LaunchLine:
        flags, env = self.spell(launch.toggles)
        listen = ("--host", launch.host, "--port", str(launch.port))
        return LaunchLine((launch.python, "-m", "reference_engine", "--model", launch.model, *listen, *flags), env)

    def ready_url(self, log: str) -> str | None:
        found = re.search(r"ready on (http://\S+)", log)
        return found[1] if found else None

    def call(self, prompt: Prompt, *, evidence: bool, stream: bool) -> Call:
        parts = [{"type": "image_url", "image_url": {"url": uri}} for uri in data_uris(prompt)]
        body = {"input_ids": list(prompt.ids), "messages": [{"role": "user", "content": parts}], "stream": stream}
        wishes = {"return_prompt_token_ids": evidence, "return_meta_info": evidence}
        return Call("/v1/chat/completions", body | wishes | {"max_tokens": prompt.max_new_tokens})

    def read(self, prompt: Prompt, setting: str, status: int, body: Any) -> Observation:
        if status != 200:
            return failure(prompt, setting, status, body)
        choice, prompt_tokens = body["choices"][0], body["usage"]["prompt_tokens"]
        told = {"text": choice["message"]["content"], "prompt_ids": tuple(choice["prompt_token_ids"])}
        ids = tuple(choice["meta_info"]["output_ids"])
        return Observation(prompt.name, setting, status, output_ids=ids, prompt_tokens=prompt_tokens, **told)

    def read_event(self, event: Mapping[str, Any]) -> StreamEvent:
        return StreamEvent((event.get("usage") or {}).get("completion_tokens"))
