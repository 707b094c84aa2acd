"""Real containers: what Docker was told, the reference engine served out of one, and the sweep of what is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from standin_target import StandinTarget

from harness.launch.container import (
    GUARD,
    MACHINE,
    RUN,
    Container,
    ContainerLauncher,
    ContainerSpec,
    connect,
    machine,
    sweep_containers,
)
from harness.launch.place import parse_volume
from harness.launch.processes import identity
from harness.launch.server import launched
from harness.records import load_record
from harness.targets.base import Launch

pytestmark = pytest.mark.containers
IMAGE = os.environ.get("ASSAY_TEST_IMAGE", "")
VOLUMES = os.environ.get("ASSAY_TEST_VOLUMES", "").split()


@pytest.fixture
def client() -> Iterator[Any]:
    found = connect(ContainerSpec(IMAGE).address)
    yield found
    found.close()


def spec(**said: Any) -> ContainerSpec:
    return replace(ContainerSpec(IMAGE, volumes=tuple(map(parse_volume, VOLUMES))), **said)


def test_an_amd_container_gets_devices_groups_and_shared_memory(client: Any, checkpoint: Path, tmp_path: Path) -> None:
    """``/dev/null`` stands in for the card; what Docker was told is read back from Docker."""
    amd = spec(vendor="amd", devices=("0", "1"), nodes=("/dev/null:/dev/kfd", "/dev/zero:/dev/dri/renderD128"))
    launches = {"one": Launch(str(checkpoint), {"vit_batching": "per_item"})}
    with launched(
        ContainerLauncher(amd), StandinTarget({}), launches, lambda name: tmp_path / f"{name}.log", timeout=90
    ) as servers:
        running = servers["one"].running
        assert isinstance(running, Container)
        assert running.family is None, "the guard is not the server: its memory and time are not the container's"
        box = client.containers.get(running.told()["id"])
        host = box.attrs["HostConfig"]
        there = box.exec_run(["ls", "/dev/kfd", "/dev/dri/renderD128", str(checkpoint / "config.json")])
        touched = box.exec_run(["touch", str(checkpoint / "new")])
    assert {device["PathInContainer"] for device in host["Devices"]} == {"/dev/kfd", "/dev/dri/renderD128"}
    assert (host["IpcMode"], host["CapAdd"]) == ("host", ["SYS_PTRACE"])
    assert "seccomp=unconfined" in host["SecurityOpt"]
    assert all(group.isdigit() for group in host["GroupAdd"] or ())
    assert host["ShmSize"] == 16 * 2**30
    assert "HIP_VISIBLE_DEVICES=0,1" in box.attrs["Config"]["Env"]
    assert {GUARD, MACHINE, RUN} <= box.labels.keys()
    assert there.exit_code == 0
    assert touched.exit_code != 0, "the model's folder can be written"
    assert running.facts()["placed"]["image_id"] == box.attrs["Image"]
    assert not client.containers.list(all=True, filters={"label": GUARD})


def test_the_reference_engine_is_served_out_of_a_container(client: Any, tmp_path: Path) -> None:
    volumes = [part for volume in VOLUMES for part in ("--volume", volume)]
    command = [sys.executable, "-m", "harness", "run", "token-drift", "--samples", "8", "--image", IMAGE, *volumes]
    limits = ["--vendor", "cpu", "--shm-size", "1g", "--memory", "3g", "--startup-timeout", "200"]
    done = subprocess.run([*command, *limits, "--out", str(tmp_path)], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.json")
    events = load_record(path)["events"]
    launch = next(event for event in events if event["event"] == "launch")
    assert launch["placed"]["image"] == IMAGE
    assert launch["describes"]["model"]
    assert next(event for event in events if event["event"] == "run")["place"]["image_id"].startswith("sha256:")
    assert not client.containers.list(all=True, filters={"label": GUARD})


def test_the_sweep_takes_what_has_no_guard_and_nothing_else(client: Any) -> None:
    """One whose guard is gone, never started; one whose guard lives; one of another machine; one of before a boot."""
    node, boot = machine().split("/")
    mine = {GUARD: identity(os.getpid()), MACHINE: machine()}
    gone = identity(999999999)
    labels = {
        "gone": mine | {GUARD: gone},
        "lives": mine,
        "elsewhere": mine | {GUARD: gone, MACHINE: f"other/{boot}"},
        "before": mine | {MACHINE: f"{node}/another-boot"},
    }
    boxes = {name: client.containers.create(IMAGE, ["true"], labels=found) for name, found in labels.items()}
    try:
        swept = sweep_containers(client)
        left = {box.id for box in client.containers.list(all=True, filters={"label": GUARD})}
    finally:
        for box in client.containers.list(all=True, filters={"label": GUARD}):
            box.remove(force=True)
    assert len(swept) == 2
    assert {name for name, box in boxes.items() if box.id in left} == {"lives", "elsewhere"}
