"""A server in a container: NVIDIA cards, AMD cards or none; the model's folder mounted read-only where it is.

The image is looked for before anything is started and pulled only when asked to; its digest goes into the record. The
container lives and dies with :mod:`harness.launch.container_guard`; what guards that were killed have left is known by
its labels and removed (:func:`sweep_containers`).
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from harness.errors import LaunchError
from harness.launch import docker_words as words
from harness.launch.process import ROOT, Guarded
from harness.launch.processes import command_line, descendants, gone, listeners
from harness.launch.running import Logs, Running
from harness.records import public_arguments, public_environment
from harness.targets.base import Launch, LaunchLine, Target

Vendor = Literal["nvidia", "amd", "cpu"]
DEFAULT_HOST = "unix:///var/run/docker.sock"
GUARD, MACHINE, RUN = "assay.guard", "assay.machine", "assay.run"
INNER_PORT = 8000
AMD_NODES = ("/dev/kfd", "/dev/dri")
AMD_GROUPS = ("video", "render")
LOG_OPTIONS = {"type": "json-file", "config": {"max-size": "64m", "max-file": "2"}}


@dataclass(frozen=True)
class ContainerSpec:
    """What a caller wants of every container of a run. Sizes as Docker writes them, such as ``16g``."""

    image: str
    vendor: Vendor = "cpu"
    devices: tuple[str, ...] = ()
    """Cards by number; none: all of them."""
    docker_host: str = ""
    volumes: tuple[tuple[str, str, bool], ...] = ()
    """Path here, path there, whether it may be written."""
    pull: bool = False
    network: Literal["host", "mapped"] = "host"
    shm_size: str = "16g"
    memory: str | None = None
    ulimits: Mapping[str, int] = field(default_factory=dict)
    nodes: tuple[str, ...] = AMD_NODES
    """Device files of AMD cards."""

    @property
    def address(self) -> str:
        return self.docker_host or os.environ.get("DOCKER_HOST", "") or DEFAULT_HOST

    @property
    def remote(self) -> str | None:
        """The daemon's machine, if it is another one."""
        return None if self.address.startswith(("unix:", "npipe:")) else urlsplit(self.address).hostname


def connect(address: str) -> docker.DockerClient:
    """Raises :class:`LaunchError` that says why no daemon answers."""
    try:
        return docker.DockerClient(base_url=address, timeout=60)
    except DockerException as error:
        raise LaunchError(words.daemon_trouble(address, error)) from error


def vendor_arguments(spec: ContainerSpec) -> dict[str, Any]:
    """What Docker needs to be told to give a container the cards of one vendor."""
    if spec.vendor == "nvidia":
        which = {"device_ids": list(spec.devices)} if spec.devices else {"count": -1}
        return {"device_requests": [{**which, "capabilities": [["gpu"]]}], "shm_size": spec.shm_size}
    if spec.vendor == "amd":
        return {
            "devices": list(spec.nodes),
            "group_add": device_groups(spec.nodes),
            "ipc_mode": "host",
            "cap_add": ["SYS_PTRACE"],
            "security_opt": ["seccomp=unconfined"],
            "shm_size": spec.shm_size,
        }
    return {"shm_size": spec.shm_size}


def device_groups(nodes: tuple[str, ...]) -> list[str]:
    """Who may open the device files, as numbers: an image need not know the group names of this machine."""
    found: set[int] = set()
    for name in AMD_GROUPS:
        with contextlib.suppress(KeyError):
            found.add(grp.getgrnam(name).gr_gid)
    for node in nodes:
        path = Path(node.partition(":")[0])
        for one in [path, *(path.glob("render*") if path.is_dir() else ())]:
            with contextlib.suppress(OSError):
                found.add(one.stat().st_gid)
    return [str(group) for group in sorted(found - {0})]


def create_arguments(spec: ContainerSpec, line: LaunchLine, model: str, image: str) -> dict[str, Any]:
    """For ``containers.create``, all of it plain JSON. Folders are mounted, never made: a missing one is an error."""
    mounts = [(source, target, writable) for source, target, writable in spec.volumes]
    if Path(model).is_dir() and not spec.remote:
        mounts.append((model, model, False))
    environment = {"PYTHONUNBUFFERED": "1", **line.env}
    if spec.vendor == "amd" and spec.devices:
        environment["HIP_VISIBLE_DEVICES"] = ",".join(spec.devices)
    arguments = {
        "image": image,
        "entrypoint": [line.argv[0]],
        "command": list(line.argv[1:]),
        "environment": environment,
        "mounts": [
            {"Type": "bind", "Source": source, "Target": target, "ReadOnly": not writable}
            for source, target, writable in mounts
        ],
        "log_config": LOG_OPTIONS,
        "ulimits": [{"name": name, "soft": limit, "hard": limit} for name, limit in spec.ulimits.items()],
        **vendor_arguments(spec),
    }
    if spec.network == "host":
        arguments["network_mode"] = "host"
    else:
        arguments["ports"] = {f"{INNER_PORT}/tcp": ["" if spec.remote else "127.0.0.1", None]}
    if spec.memory:
        arguments |= {"mem_limit": spec.memory, "memswap_limit": spec.memory}
    return arguments


class Container(Guarded):
    grace = 10.0

    def __init__(self, name: str, spec: ContainerSpec, line: LaunchLine, model: str, log: Path, image: Any) -> None:
        super().__init__(name, log)
        self.spec, self.line = spec, line
        self._about = {"image": spec.image, "image_id": image.id, "digests": image.attrs.get("RepoDigests") or []}
        self._create = create_arguments(spec, line, model, image.id)
        self._told: dict[str, Any] = {}
        self._unread = b""

    def start(self) -> None:
        assert self.log is not None
        order = {
            "docker_host": self.spec.address,
            "image": self.spec.image,
            "devices": ",".join(self.spec.devices),
            "memory": self.spec.memory,
            "grace": self.grace,
            "create": self._create | {"labels": {MACHINE: machine(), RUN: self.log.parent.name.removesuffix(".logs")}},
        }
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": paths}
        self._start_guard("harness.launch.container_guard", (), environment, subprocess.PIPE)
        assert self._guard_process is not None
        assert self._guard_process.stdin is not None
        assert self._guard_process.stdout is not None
        os.set_blocking(self._guard_process.stdout.fileno(), False)
        with contextlib.suppress(BrokenPipeError):  # the guard ended at once; its log says why
            self._guard_process.stdin.write(json.dumps(order).encode() + b"\n")
            self._guard_process.stdin.flush()

    def told(self) -> dict[str, Any]:
        """What the guard has reported so far: ``id``, ``pid``, ``port``, ``ended``, and ``failed`` if Docker did."""
        if self._guard_process is not None and self._guard_process.stdout is not None:
            self._unread += self._guard_process.stdout.read() or b""
            *lines, self._unread = self._unread.split(b"\n")
            for line in lines:
                self._told |= json.loads(line)
        return self._told

    def ended(self) -> str | None:
        ended = super().ended()
        return ended and str(self.told().get("ended", ended))

    def stop(self) -> None:
        super().stop()
        if self._guard_process is not None and self._guard_process.stdout is not None:
            self.told()
            self._guard_process.stdout.close()
            self._guard_process.stdout = None

    def telling_lines(self, most: int = 5) -> str:
        """Nothing where Docker has said all there is."""
        return "" if "failed" in self.told() and not self.log_text() else super().telling_lines(most)

    def reach(self, announced: str) -> str:
        if self.spec.network == "mapped":
            return f"http://{self.spec.remote or '127.0.0.1'}:{self.told().get('port')}"
        return f"http://{self.spec.remote}:{urlsplit(announced).port}" if self.spec.remote else announced

    def intruder(self) -> str | None:
        port, inner = urlsplit(self.url).port, self.told().get("pid", 0)
        others = (listeners(port) if port and not self.spec.remote else None) or set()
        if not others or self.spec.network == "mapped" or others & (descendants(inner) | {inner}):
            return None
        other = min(others)
        return f"port {port} is answered by process {other} ({command_line(other)[:80]}), not by this container"

    def facts(self) -> dict[str, Any]:
        shown = {"container": str(self.told().get("id", ""))[:12], "vendor": self.spec.vendor, **self._about}
        environment = public_environment(self._create["environment"])
        return {"argv": public_arguments(self.line.argv), "environment": environment, "placed": shown}

    def _end_unguarded(self) -> None:
        super()._end_unguarded()
        with contextlib.suppress(LaunchError, DockerException):
            here = {GUARD: self.guard, MACHINE: machine()}
            remove([box for box in labelled(connect(self.spec.address)) if here.items() <= box.labels.items()])


class ContainerLauncher:
    def __init__(self, spec: ContainerSpec) -> None:
        self.spec = spec
        self._image: Any = None

    def prepare(self) -> dict[str, Any]:
        """The daemon answers, leftovers are gone, the image is there."""
        client = connect(self.spec.address)
        swept = sweep_containers(client)
        self._image = find_image(client, self.spec)
        return {
            "launcher": "container",
            "docker": client.version().get("Version"),
            "docker_host": re.sub(r"//[^/@]+@", "//", self.spec.address),
            "image": self.spec.image,
            "image_id": self._image.id,
            "digests": self._image.attrs.get("RepoDigests") or [],
            "vendor": self.spec.vendor,
            "swept": swept,
        }

    def servers(self, target: Target, launches: Mapping[str, Launch], logs: Logs) -> dict[str, Running]:
        if self._image is None:
            self.prepare()
        found: dict[str, Running] = {}
        for name, launch in launches.items():
            python = "python3" if launch.python == sys.executable else launch.python
            inside = replace(launch, python=python)
            if self.spec.network == "mapped":
                inside = replace(inside, host="0.0.0.0", port=INNER_PORT)
            elif self.spec.remote:
                inside = replace(inside, host="0.0.0.0")
            line = target.launch_line(inside)
            found[name] = Container(name, self.spec, line, launch.model, logs(name), self._image)
        return found


def find_image(client: docker.DockerClient, spec: ContainerSpec) -> Any:
    """The image as it is on the daemon's machine. Raises :class:`LaunchError` when it is not, or cannot be, there."""
    try:
        return client.images.get(spec.image)
    except ImageNotFound as error:
        if not spec.pull:
            raise LaunchError(words.image_missing(spec.image)) from error
    except APIError as error:
        raise LaunchError(f"--image {spec.image}: {words.said(error)}") from error
    try:
        return client.images.pull(spec.image, tag=None if ":" in spec.image.rpartition("/")[2] else "latest")
    except DockerException as error:
        raise LaunchError(words.pull_refused(spec.image, error)) from error


def machine() -> str:
    """This machine since it was started: process ids say nothing of another, or of one before."""
    with contextlib.suppress(OSError):
        return f"{platform.node()}/{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
    return platform.node()


def sweep_containers(client: docker.DockerClient) -> list[str]:
    """Remove the containers that this machine has launched and whose guard is gone; a line for each."""
    here, boot = machine().partition("/")[::2]
    found = []
    for box in labelled(client):
        node, started = box.labels.get(MACHINE, "").partition("/")[::2]
        if node == here and (started != boot or gone(box.labels[GUARD])):
            found.append(box)
    return remove(found)


def labelled(client: docker.DockerClient) -> list[Any]:
    """Every container that some Assay has launched with this daemon."""
    return list(client.containers.list(all=True, filters={"label": GUARD}, ignore_removed=True))


def remove(boxes: list[Any]) -> list[str]:
    for box in boxes:
        with contextlib.suppress(APIError):  # somebody else is removing it
            box.remove(force=True, v=True)
    return [f"container {box.short_id} ({box.labels.get(RUN) or 'unnamed run'})" for box in boxes]
