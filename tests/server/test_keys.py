from __future__ import annotations

import logging
from typing import Any

import pytest

from reference_engine import ConfigError
from reference_engine.server.keys import VARIABLE, api_key

KEY = "s3cret-Key"


def test_all_but_health_needs_the_key(echo: Any, serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serve(echo, key=KEY) as client:
        assert client.get("/health").status_code == 200
        for path in ("/metrics", "/v1/models", "/server_info", "/openapi.json", "/nope", "/health/"):
            assert client.get(path).status_code == 401
        for wrong in ("", KEY, f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer", "Bearer k\xe9y"):
            answer = client.post("/generate", json={"text": "a"}, headers={"Authorization": wrong.encode("latin-1")})
            assert answer.status_code == 401
            assert answer.json()["error"]["param"] == "authorization"
            assert answer.headers["www-authenticate"] == "Bearer"
            assert KEY not in answer.text
        for right in (f"Bearer {KEY}", f"bearer {KEY}"):
            assert client.post("/generate", json={"text": "a"}, headers={"Authorization": right}).status_code == 200
        assert KEY not in client.get("/server_info", headers={"Authorization": right}).text
    assert KEY not in caplog.text


def test_a_key_that_no_header_can_hold_is_refused() -> None:
    assert api_key({}) is None
    assert api_key({VARIABLE: KEY}) == KEY
    for wrong in ("", " k9q", "k9q\n", "kéy"):
        with pytest.raises(ConfigError, match=VARIABLE) as caught:
            api_key({VARIABLE: wrong})
        assert not wrong.strip() or wrong not in str(caught.value)
