"""Where a run's servers are: processes of this machine, containers, or addresses where they run already. What a caller
may say of it, and the launcher that follows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from harness.errors import UsageError
from harness.launch.attached import UrlLauncher, parse_urls, read_key
from harness.launch.process import ProcessLauncher
from harness.launch.running import Launcher

SIZE = re.compile(r"\d+[bkmg]?", re.IGNORECASE)
ONLY_WITH_IMAGE = ("vendor", "devices", "docker_host", "volumes", "pull", "network", "shm_size", "memory", "ulimits")


@dataclass(frozen=True)
class Place:
    """Nothing given: processes. Otherwise an image or addresses, never both. Spelled as on the command line."""

    url: Sequence[str] = ()
    api_key: str | None = None
    """The name of the environment variable that holds it."""
    image: str | None = None
    vendor: Literal["nvidia", "amd", "cpu"] | None = None
    """None: whichever card this machine has."""
    devices: str | None = None
    docker_host: str | None = None
    volumes: Sequence[str] = ()
    pull: bool = False
    network: Literal["host", "mapped"] | None = None
    shm_size: str | None = None
    memory: str | None = None
    ulimits: Sequence[str] = ()

    def launcher(self) -> Launcher:
        """Raises :class:`UsageError` for what does not go together."""
        if self.api_key and not self.url:
            raise UsageError("--api-key goes with --url: servers that Assay starts ask for no key")
        if self.url and self.image:
            raise UsageError(f"--url {self.url[0]} and --image {self.image}: only one of them")
        if self.image:
            return self._containers()
        if given := [name for name in ONLY_WITH_IMAGE if getattr(self, name)]:
            raise UsageError(f"--{given[0].rstrip('s').replace('_', '-')} goes with --image")
        if self.url:
            return UrlLauncher(parse_urls(self.url), read_key(self.api_key))
        return ProcessLauncher()

    def _containers(self) -> Launcher:
        from harness.launch.container import ContainerLauncher, ContainerSpec

        for flag, size in (("shm-size", self.shm_size), ("memory", self.memory)):
            if size is not None and not SIZE.fullmatch(size):
                raise UsageError(f"--{flag} {size}: write a size such as 512m or 16g")
        devices = tuple(filter(None, (self.devices or "").split(",")))
        vendor = self.vendor or found_vendor()
        if devices and vendor == "cpu":
            raise UsageError(f"--devices {self.devices}: there are none with --vendor cpu")
        assert self.image is not None
        return ContainerLauncher(
            ContainerSpec(
                image=self.image,
                vendor=vendor,
                devices=devices,
                docker_host=self.docker_host or "",
                volumes=tuple(parse_volume(volume) for volume in self.volumes),
                pull=self.pull,
                network=self.network or "host",
                shm_size=self.shm_size or "16g",
                memory=self.memory,
                ulimits=dict(parse_ulimit(limit) for limit in self.ulimits),
            )
        )


PLACES = tuple(field.name for field in fields(Place))


def found_vendor() -> Literal["nvidia", "amd", "cpu"]:
    """Whose cards this machine has, by their device files."""
    if Path("/dev/nvidiactl").exists():
        return "nvidia"
    return "amd" if Path("/dev/kfd").exists() else "cpu"


def parse_volume(given: str) -> tuple[str, str, bool]:
    """``HERE:THERE[:ro|:rw]``, both absolute; read-only unless said otherwise."""
    source, _, rest = given.partition(":")
    target, _, mode = rest.partition(":")
    if not (source.startswith("/") and target.startswith("/") and mode in ("", "ro", "rw")):
        raise UsageError(f"--volume {given}: write /PATH/HERE:/PATH/THERE, with :rw where it may be written")
    return source, target, mode == "rw"


def parse_ulimit(given: str) -> tuple[str, int]:
    name, _, limit = given.partition("=")
    if not (name.isalpha() and re.fullmatch(r"-?\d+", limit)):
        raise UsageError(f"--ulimit {given}: write NAME=NUMBER, such as memlock=-1")
    return name, int(limit)
