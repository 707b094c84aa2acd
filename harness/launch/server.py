"""A launched target: what runs together with what it was launched as. ``launched`` starts several and always ends
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from harness.errors import JobError
from harness.launch.running import Launcher, Logs, OnWait, Running, wait_ready
from harness.targets.base import Launch, Target

REQUEST_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """``setting`` is the name that the job gives to this launch, such as ``off`` or ``cross_request``."""

    setting: str
    target: Target
    launch: Launch
    running: Running
    request_timeout: float = REQUEST_SECONDS
    """Seconds that one request may take from first to last byte."""

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def headers(self) -> Mapping[str, str]:
        return self.running.headers

    def death(self, doing: str) -> JobError:
        return self.running.death(doing)

    def describe(self) -> Any:
        """What the target says of itself (configuration, versions); None where it has no such page."""
        if self.target.info_path is None:
            return None
        try:
            page = httpx2.get(
                self.url + self.target.info_path, headers=dict(self.headers), timeout=10.0, trust_env=False
            )
            return page.json() if page.status_code == 200 else None
        except httpx2.TransportError as error:
            raise self.death(f"describing itself ({type(error).__name__})") from error
        except ValueError as error:
            raise JobError(f"server {self.setting}: {self.target.info_path} is not JSON: {error}") from error


@contextmanager
def launched(
    launcher: Launcher,
    target: Target,
    launches: Mapping[str, Launch],
    logs: Logs,
    *,
    timeout: float,
    request_timeout: float = REQUEST_SECONDS,
    on_stop: Callable[[Server], None] = lambda server: None,
    on_wait: OnWait = lambda text: None,
) -> Iterator[dict[str, Server]]:
    """Servers by setting, started side by side and all ready. ``on_stop`` sees each one before it is ended, failed
    ones too; all are ended whatever it raises.
    """
    found = launcher.servers(target, launches, logs)
    servers = {name: Server(name, target, launches[name], running, request_timeout) for name, running in found.items()}
    with ExitStack() as endings:
        for server in servers.values():
            endings.callback(server.running.stop)
            server.running.start()
        # Last in, first out: all are looked at, then all are asked to end, then each is waited for.
        for server in servers.values():
            endings.callback(server.running.terminate)
        for server in reversed(servers.values()):
            endings.callback(on_stop, server)
        wait_ready(list(found.values()), target.ready_url, target.health_path, timeout, on_wait)
        yield servers
