"""Docker's errors and endings in words that say what to do next. Pure text."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Any

QUOTED = re.compile(r'\("(?P<text>.*)"\)\s*$', re.DOTALL)
RLIMITS = (
    *("cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock"),
    *("as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"),
)
"""By the numbers that the kernel gives them."""
NO_NVIDIA = r"could not select device driver|nknown runtime specified nvidia|libnvidia-ml|nvidia-container-cli: init"
NOT_SET_UP = 125
"""A guard's exit code when Docker did not start the container, as with ``docker run``."""


def daemon_trouble(address: str, error: Exception) -> str:
    """Why no daemon answers at ``address``, and what to do."""
    text = str(error)
    if "Permission denied" in text or "PermissionError" in text:
        return (
            f"Docker at {address} may not be used by this user: `sudo usermod -aG docker $USER` and log in again, "
            "or name another with --docker-host"
        )
    if re.search(r"No such file|Connection refused|Connection aborted|timed out|Name or service|Max retries", text):
        return (
            f"no Docker daemon answers at {address}: start it (`sudo systemctl start docker`), or name another with "
            "--docker-host; `docker info` shows what the docker command talks to"
        )
    return f"Docker at {address} cannot be used: {text}"


def image_missing(image: str) -> str:
    return f"image {image} is not on this machine: `docker pull {image}`, or let Assay do that with --pull"


def pull_refused(image: str, error: Exception) -> str:
    registry = image.partition("/")[0] if "." in image.partition("/")[0] or ":" in image.partition("/")[0] else ""
    login = f"docker login {registry}".strip()
    return f"image {image} could not be pulled: {said(error)}. Check the name (`docker pull {image}`) and `{login}`"


def said(error: Exception) -> str:
    """What the daemon itself said, without the request that it answered."""
    explanation = getattr(error, "explanation", None)
    if explanation:
        return str(explanation).strip()
    found = QUOTED.search(str(error))
    return found["text"] if found else str(error)


def explain(error: Exception, order: Mapping[str, Any]) -> str:
    """Why the container of ``order`` could not be created or started."""
    text = said(error)
    create = order["create"]
    image = order["image"]
    if re.search(NO_NVIDIA, text):
        return (
            f"this Docker has no NVIDIA runtime ({text}). Install the NVIDIA Container Toolkit, then `sudo "
            "nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker`; `docker run --rm --gpus "
            f"all {image} nvidia-smi` must work. Without a card: --vendor cpu"
        )
    if "unknown device" in text:
        return f"--devices {order['devices']}: there is no such card ({text}); `nvidia-smi -L` lists them"
    if found := re.search(r'custom device "(?P<node>[^"]+)"', text):
        node = found["node"]
        return (
            f"there is no {node} for an AMD card ({text}). Load the driver with `sudo modprobe amdgpu`, then "
            "`ls -l /dev/kfd /dev/dri` must show it. Without an AMD card: --vendor nvidia or --vendor cpu"
        )
    if found := re.search(r"rlimit type (?P<number>\d+)", text):
        name = RLIMITS[int(found["number"])]
        return (
            f"--ulimit {name}: this Docker may not raise it that far ({text}). Give a lower one, or raise "
            f"Limit{name.upper()} of docker.service and restart it"
        )
    if re.search(r"executable file not found|no such file or directory: unknown|exec format error", text):
        return f"image {image} cannot run {create['entrypoint'][0]} ({text}); name the image's own with --python"
    if found := re.search(r"bind source path does not exist: (?P<path>\S+)", text):
        return f"{found['path']} cannot be mounted: there is no such path on the machine of the daemon"
    if re.search(r"port is already allocated|address already in use", text):
        return f"a port is taken ({text}): `ss -ltnp` and `docker ps` name who holds it"
    return text


def ending(state: Mapping[str, Any], memory: str | None) -> str:
    """How a container ended, from its ``State``."""
    code = int(state.get("ExitCode", 0))
    if state.get("OOMKilled"):
        limit = f" of {memory}" if memory else ""
        return (
            f"was ended for memory (OOMKilled, exit code {code}): it needs more than its limit{limit}; raise --memory"
        )
    if code > 128 and code - 128 in {number.value for number in signal.Signals}:
        return f"was ended by {signal.Signals(code - 128).name} (exit code {code})"
    if error := state.get("Error"):
        return f"ended with exit code {code}: {error}"
    return f"ended with exit code {code}"
