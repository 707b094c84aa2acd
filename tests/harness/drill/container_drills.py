"""The fault drill in containers: what Docker refuses, how containers end, and who is killed meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import NotFound
from drills import INTERRUPTED, PASSED, SLOW, Drill, after, says, while_asking
from scene import Scene

IMAGE = os.environ.get("ASSAY_TEST_IMAGE", "")
VOLUMES = tuple(part for volume in os.environ.get("ASSAY_TEST_VOLUMES", "").split() for part in ("--volume", volume))
IN_CONTAINERS = ("--image", IMAGE, *VOLUMES, "--volume", "{folder}:{folder}:rw")
CPU = ("--vendor", "cpu")
GUARD = "harness.launch.container_guard"


@dataclass
class ContainerScene(Scene):
    """Whatever runs from the test's image is this scene's."""

    def containers(self) -> list[Any]:
        client = docker.from_env()
        try:
            return list(client.containers.list(all=True, filters={"ancestor": IMAGE}, ignore_removed=True))
        finally:
            client.close()


def to_containers(act: Callable[[Any], object]) -> Callable[[Scene], None]:
    """Done to every container, once answers come in."""

    def disturb(scene: Scene) -> None:
        scene.wait(lambda: scene.answers() >= 2)
        for box in scene.containers():
            act(box)

    return disturb


def kill_guards(scene: Scene) -> None:
    scene.wait(lambda: scene.answers() >= 2)
    for pid in scene.of(GUARD):
        os.kill(pid, signal.SIGKILL)


def kill_guards_and_assay(scene: Scene) -> None:
    kill_guards(scene)
    os.kill(scene.pid, signal.SIGKILL)


def remove(box: Any) -> None:
    try:
        box.remove(force=True)
    except NotFound:
        return


REFUSED = (
    Drill("no NVIDIA runtime", r"this Docker has no NVIDIA runtime .*`sudo nvidia-ctk runtime configure",
          more=("--vendor", "nvidia")),
    Drill("no /dev/kfd", r"there is no /dev/kfd for an AMD card .*`sudo modprobe amdgpu`", more=("--vendor", "amd")),
    Drill("image missing", "localhost:9/none:1 is not on this machine: `docker pull localhost:9/none:1`, or .*--pull",
          more=("--image", "localhost:9/none:1")),
    Drill("image name that is none", "--image Bad Name: .*invalid reference format", more=("--image", "Bad Name")),
    Drill("pull refused", "none:1 could not be pulled: .*refused. Check the name .*`docker login localhost:9`",
          more=("--image", "localhost:9/none:1", "--pull")),
    Drill("daemon down", "no Docker daemon answers at unix:///nowhere.sock: start it .*--docker-host",
          more=("--docker-host", "unix:///nowhere.sock")),
    Drill("interpreter not in the image", r"cannot run /nowhere/python .*--python",
          more=(*CPU, "--python", "/nowhere/python")),
    Drill("folder that is not there", "/nowhere/data cannot be mounted: there is no such path",
          more=(*CPU, "--volume", "/nowhere/data:/data")),
    Drill("ulimit too high", "--ulimit nofile: this Docker may not raise it that far .*LimitNOFILE of docker.service",
          more=(*CPU, "--ulimit", "nofile=1073741816")),
)  # fmt: skip

ENDED = (
    Drill("memory limit", r"was ended for memory \(OOMKilled, exit code 137\): .*limit of 200m; raise --memory",
          flags={"*": ["--eats", "400"]}, more=(*CPU, "--memory", "200m")),
    Drill("exit 1 in the container", "ended with exit code 1 .*No module named 'flashinfer'", more=CPU,
          flags=says("ModuleNotFoundError: No module named 'flashinfer'")),
    Drill("crash in the container (139)", r"was ended by SIGSEGV \(exit code 139\)", more=CPU,
          flags=says("x", "SIGSEGV")),
    Drill("hang at start in the container", "not ready within 15 s: it has not told an address.*loading shards",
          flags={"*": ["--says", "loading shards 1/9", "--hangs-at-start"]}, more=(*CPU, "--startup-timeout", "15")),
    Drill("log flood in the container", "cannot find its weights", more=CPU,
          flags={"*": ["--floods-log", "8", "--dies-at-start"]}),
    Drill("crash in the middle, in the container", "exit code 1 while answering .*memory is full", code=1, more=CPU,
          flags=after(3, "crash"), answers=6),
    Drill("hang in the middle, in the container", "not done after 2 s", code=1, flags=after(3, "hang"), answers=9,
          more=(*CPU, "--request-timeout", "2")),
    Drill("container killed by somebody", r"was ended by SIGKILL \(exit code 137\) while", 1, SLOW, CPU,
          disturb=to_containers(lambda box: box.kill()), answers=2),
    Drill("container removed by somebody", "somebody removed the container|was ended by SIGKILL", 1, SLOW, CPU,
          disturb=to_containers(remove), answers=2),
    Drill("container deaf to SIGTERM", PASSED, 0, {"off": ["--ignores-sigterm"]}, CPU, answers=12),
    Drill("stays healthy, CPU", PASSED, 0, more=CPU, answers=12),
)  # fmt: skip

KILLED = (
    Drill("Ctrl-C, containers", INTERRUPTED, 130, SLOW, CPU, while_asking(signal.SIGINT), answers=2),
    Drill("Ctrl-C twice, containers", INTERRUPTED, 130, SLOW, CPU,
          while_asking(signal.SIGINT, signal.SIGINT), answers=2),
    Drill("kill -9 of Assay, containers", "asking off", -9, SLOW, CPU, while_asking(signal.SIGKILL), answers=2),
    Drill("container guards killed", PASSED, 0, flags=SLOW, more=CPU, disturb=kill_guards, answers=12),
    Drill("kill -9 of Assay and of the container guards", "asking off", -9, SLOW, CPU, kill_guards_and_assay,
          answers=2, sweep=True),
)  # fmt: skip

CONTAINER_DRILLS = (*REFUSED, *ENDED, *KILLED)
