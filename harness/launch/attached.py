"""Servers that somebody else runs: nothing is started, nothing stopped, nothing said of toggles.

A job that compares settings needs one address for each: ``--url off=http://... --url on=http://...``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import LaunchError, UsageError
from harness.launch.running import Logs, Running
from harness.records import URL_LOGIN
from harness.targets.base import Launch, Target

ADDRESS = re.compile(r"(?:(?P<setting>[^/]+)=)?(?P<url>https?://\S+)")


class Attached(Running):
    def __init__(self, name: str, url: str, headers: Mapping[str, str]) -> None:
        super().__init__(name, None)
        self.url, self.headers = url, headers

    def start(self) -> None: ...

    def ended(self) -> str | None:
        return None

    def terminate(self) -> None: ...

    def stop(self) -> None: ...

    def not_ready(self) -> str:
        return f"{super().not_ready()}; look at it with `curl -i {URL_LOGIN.sub('//', self.url)}`"

    def telling_lines(self, most: int = 5) -> str:
        return f"    it was not started by Assay: look at the log of {URL_LOGIN.sub('//', self.url)} where it runs"

    def facts(self) -> dict[str, Any]:
        return {"argv": [], "environment": {}, "url": URL_LOGIN.sub("//", self.url)}


class UrlLauncher:
    """``urls`` is address by setting; the one called "" serves whatever is not named."""

    def __init__(self, urls: Mapping[str, str], key: str | None = None) -> None:
        self.urls = dict(urls)
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    def prepare(self) -> dict[str, Any]:
        return {"launcher": "url", "urls": {name: URL_LOGIN.sub("//", url) for name, url in self.urls.items()}}

    def servers(self, target: Target, launches: Mapping[str, Launch], logs: Logs) -> dict[str, Running]:
        unnamed = [name for name in launches if name not in self.urls]
        if unnamed and "" not in self.urls:
            known = ", ".join(sorted(self.urls))
            raise LaunchError(
                f"--url: no address for setting {unnamed[0]}, only for {known}: add --url {unnamed[0]}=http://..."
            )
        if len(unnamed) > 1 and len({tuple(sorted(launches[name].toggles.items())) for name in unnamed}) > 1:
            raise LaunchError(
                f"--url {self.urls['']}: one server cannot have the settings {' and '.join(unnamed)}: give "
                "each its own, " + " ".join(f"--url {name}=http://..." for name in unnamed)
            )
        if planted := [launch.plant for launch in launches.values() if launch.plant]:
            raise LaunchError(f"--plant {planted[0]}: a server that Assay did not start has no fault planted")
        return {name: Attached(name, self.urls.get(name) or self.urls[""], self.headers) for name in launches}


def parse_urls(given: Sequence[str]) -> dict[str, str]:
    """``http://host`` or ``SETTING=http://host``, as address by setting."""
    urls: dict[str, str] = {}
    for one in given:
        found = ADDRESS.fullmatch(one)
        if found is None:
            raise UsageError(f"--url {one}: write http://HOST:PORT, or SETTING=http://HOST:PORT")
        setting = found["setting"] or ""
        if setting in urls:
            raise UsageError(f"--url {one}: setting {setting or 'of all'} has an address already, {urls[setting]}")
        urls[setting] = found["url"].rstrip("/")
    return urls


def read_key(variable: str | None) -> str | None:
    """The key in an environment variable. What was given in its place is not repeated: it may be the key itself."""
    if variable is None:
        return None
    if not variable.isidentifier() or variable not in os.environ:
        raise UsageError("--api-key: give the name of an environment variable that is set and holds the key")
    return os.environ[variable]
