"""A launched target: the process together with what it was launched as. ``launched`` starts several and always ends
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from harness.launch.process import ServerProcess, wait_ready
from harness.targets.base import Launch, Target


@dataclass(frozen=True)
class Server:
    """``setting`` is the name that the job gives to this launch, such as ``off`` or ``cross_request``."""

    setting: str
    target: Target
    launch: Launch
    process: ServerProcess

    @property
    def url(self) -> str:
        return self.process.url

    def describe(self) -> Any:
        """What the target says of itself (configuration, versions); None where it has no such page."""
        if self.target.info_path is None:
            return None
        answer = httpx2.get(self.url + self.target.info_path, timeout=10.0, trust_env=False)
        return answer.json() if answer.status_code == 200 else None


@contextmanager
def launched(
    target: Target,
    launches: Mapping[str, Launch],
    logs: Callable[[str], Path],
    *,
    timeout: float,
    on_stop: Callable[[Server], None] = lambda server: None,
) -> Iterator[dict[str, Server]]:
    """Servers by setting, started side by side and all ready. ``on_stop`` sees each one before it is ended, failed
    ones too.
    """
    servers: dict[str, Server] = {}
    try:
        for setting, launch in launches.items():
            process = ServerProcess(setting, target.launch_line(launch), logs(setting))
            servers[setting] = Server(setting, target, launch, process)
            process.start()
        processes = [server.process for server in servers.values()]
        wait_ready(processes, target.ready_url, target.health_path, timeout)
        yield servers
    finally:
        for server in servers.values():
            on_stop(server)
            server.process.terminate()
        for server in servers.values():
            server.process.stop()
