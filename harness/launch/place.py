"""Where a run's servers are: processes of this machine, containers, or addresses where they run already. What a caller
may say of it, and the launcher that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from harness.errors import UsageError
from harness.launch.attached import UrlLauncher, parse_urls, read_key
from harness.launch.process import ProcessLauncher
from harness.launch.running import Launcher


@dataclass(frozen=True)
class Place:
    """Nothing given: processes. Otherwise an image or addresses, never both."""

    url: Sequence[str] = ()
    api_key: str | None = None
    """The name of the environment variable that holds it."""

    def launcher(self) -> Launcher:
        """Raises :class:`UsageError` for what does not go together."""
        if self.api_key and not self.url:
            raise UsageError("--api-key goes with --url: servers that Assay starts ask for no key")
        if self.url:
            return UrlLauncher(parse_urls(self.url), read_key(self.api_key))
        return ProcessLauncher()


PLACES = tuple(field.name for field in fields(Place))
