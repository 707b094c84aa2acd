from __future__ import annotations

import base64
import io
import json

from PIL import Image

from harness.targets.base import Call
from harness.workloads.hostile import hostile_requests, picture_uris, png

GOOD = f"data:image/png;base64,{base64.b64encode(png(30, 40)).decode()}"
CALL = Call("/generate", {"input_ids": [1, 2], "image_data": [GOOD], "sampling_params": {"temperature": 0.0, "n": 1}})


def test_each_has_one_thing_wrong_and_a_name_of_its_own() -> None:
    made = hostile_requests(CALL)
    assert len({one.name for one in made}) == len(made) > 70
    assert len({one.content for one in made}) == len(made)
    assert json.dumps(CALL.body).encode() not in {one.content for one in made}
    by_name = {one.name: one.content for one in made}
    assert json.loads(by_name["sampling_params.temperature is -1"])["sampling_params"] == {"temperature": -1, "n": 1}
    assert json.loads(by_name["input_ids ends in 2^63"])["input_ids"] == [1, 2, 2**63]
    assert "input_ids" not in json.loads(by_name["input_ids left out"])
    assert b"NaN" in by_name["sampling_params.temperature is NaN"]


def test_pictures_are_what_their_names_say() -> None:
    uris = picture_uris(GOOD)
    grey = Image.open(io.BytesIO(base64.b64decode(uris["grey with alpha"].partition(",")[2])))
    assert (grey.mode, grey.size) == ("LA", (30, 40))
    grey.load()
    deep = Image.open(io.BytesIO(base64.b64decode(uris["16 bits deep"].partition(",")[2])))
    assert deep.mode.startswith("I")
    bomb = base64.b64decode(uris["a bomb of 60000 x 60000"].partition(",")[2])
    assert int.from_bytes(bomb[16:20], "big") == 60_000


def test_a_call_without_pictures_has_the_rest() -> None:
    made = hostile_requests(Call("/v1/completions", {"prompt": "a"}))
    assert not any("picture" in one.name for one in made)
    assert any(one.name == "prompt left out" for one in made)
