"""What a caller may say of where servers are, and which launcher follows; what Docker is told, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import LaunchError, UsageError
from harness.launch import docker_words as words
from harness.launch.attached import UrlLauncher, parse_urls
from harness.launch.container import ContainerLauncher, ContainerSpec, create_arguments
from harness.launch.place import Place
from harness.launch.process import ProcessLauncher
from harness.targets.base import Launch, LaunchLine
from harness.targets.reference import ReferenceTarget

LINE = LaunchLine(("python3", "-m", "engine"), {"OMP_NUM_THREADS": "2"})


def logs(name: str) -> Path:
    return Path(f"{name}.log")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"api_key": "X"}, "--api-key goes with --url"),
        ({"url": ["http://a"], "image": "b"}, "only one of them"),
        ({"vendor": "amd"}, "--vendor goes with --image"),
        ({"volumes": ["/a:/b"]}, "--volume goes with --image"),
        ({"image": "a", "vendor": "cpu", "devices": "0"}, "there are none with --vendor cpu"),
        ({"image": "a", "memory": "much"}, "--memory much: write a size"),
        ({"image": "a", "volumes": ["here:/there"]}, "--volume here:/there: write"),
        ({"image": "a", "ulimits": ["memlock"]}, "--ulimit memlock: write"),
        ({"url": ["ftp://a"]}, "--url ftp://a: write"),
        ({"url": ["off=http://a", "off=http://b"]}, "setting off has an address already"),
        ({"url": ["http://a"], "api_key": "sk-123"}, "give the name of an environment variable"),
    ],
)
def test_what_does_not_go_together_is_refused(said: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told) as refused:
        Place(**said).launcher()
    assert "sk-123" not in str(refused.value)


def test_nothing_said_means_processes_an_image_containers_an_address_that() -> None:
    assert isinstance(Place().launcher(), ProcessLauncher)
    assert isinstance(Place(url=["http://a"]).launcher(), UrlLauncher)
    found = Place(image="a:1", vendor="amd", devices="0,3", volumes=["/x:/y:rw"], ulimits=["memlock=-1"]).launcher()
    assert isinstance(found, ContainerLauncher)
    assert (found.spec.devices, found.spec.volumes, found.spec.ulimits) == (
        ("0", "3"), (("/x", "/y", True),), {"memlock": -1}
    )  # fmt: skip


def test_addresses_by_setting() -> None:
    urls = parse_urls(["http://a:1/", "avoid_retokenize=off=http://b:2"])
    assert urls == {"": "http://a:1", "avoid_retokenize=off": "http://b:2"}


def test_one_server_cannot_have_two_settings() -> None:
    target = ReferenceTarget()
    off, on = Launch("m", {"vit_batching": "per_item"}), Launch("m", {"vit_batching": "cross_request"})
    with pytest.raises(LaunchError, match="one server cannot have the settings off and on"):
        UrlLauncher({"": "http://a"}).servers(target, {"off": off, "on": on}, logs)
    with pytest.raises(LaunchError, match="no address for setting on, only for off"):
        UrlLauncher({"off": "http://a"}).servers(target, {"off": off, "on": on}, logs)
    with pytest.raises(LaunchError, match="has no fault planted"):
        UrlLauncher({"": "http://a"}).servers(target, {"x": Launch("m", plant="F1-01")}, logs)
    named = UrlLauncher({"off": "http://a", "on": "http://b"}, key="k").servers(target, {"off": off, "on": on}, logs)
    assert [server.url for server in named.values()] == ["http://a", "http://b"]
    same = UrlLauncher({"": "http://a"}).servers(target, {"first": off, "again": off}, logs)
    assert named["on"].headers == {"Authorization": "Bearer k"}
    assert "k" not in json.dumps([server.facts() for server in (*named.values(), *same.values())]).split('"')


def test_what_docker_is_told_for_each_vendor(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()

    def told(**said: Any) -> dict[str, Any]:
        return create_arguments(ContainerSpec("a:1", **said), LINE, str(model), "sha256:1")

    cpu = told()
    assert (cpu["entrypoint"], cpu["command"], cpu["network_mode"]) == (["python3"], ["-m", "engine"], "host")
    assert cpu["mounts"] == [{"Type": "bind", "Source": str(model), "Target": str(model), "ReadOnly": True}]
    assert cpu["environment"] == {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "2"}
    assert not {"devices", "device_requests", "ports", "mem_limit"} & cpu.keys()
    assert told(vendor="nvidia")["device_requests"] == [{"count": -1, "capabilities": [["gpu"]]}]
    assert told(vendor="nvidia", devices=("1",))["device_requests"][0]["device_ids"] == ["1"]
    amd = told(vendor="amd", devices=("0", "2"), shm_size="8g")
    assert amd["devices"] == ["/dev/kfd", "/dev/dri"]
    assert amd["environment"]["HIP_VISIBLE_DEVICES"] == "0,2"
    assert all(group.isdigit() for group in amd["group_add"])
    assert (amd["ipc_mode"], amd["cap_add"], amd["security_opt"], amd["shm_size"]) == (
        "host", ["SYS_PTRACE"], ["seccomp=unconfined"], "8g"
    )  # fmt: skip
    mapped = told(network="mapped", memory="1g", ulimits={"memlock": -1})
    assert "network_mode" not in mapped
    assert (mapped["ports"], mapped["mem_limit"]) == ({"8000/tcp": ["127.0.0.1", None]}, "1g")
    assert mapped["ulimits"] == [{"name": "memlock", "soft": -1, "hard": -1}]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', "nvidia-ctk runtime configure"),
        ("Unknown runtime specified nvidia", "no NVIDIA runtime"),
        ("nvidia-container-cli: device error: 7: unknown device: unknown", "`nvidia-smi -L` lists them"),
        ('error gathering device information while adding custom device "/dev/dri": no such file', "no /dev/dri"),
        ("error setting rlimit type 8: operation not permitted: unknown", "raise LimitMEMLOCK of docker.service"),
        ('exec: "python3": executable file not found in $PATH: unknown', "cannot run python3"),
        ("invalid mount config: bind source path does not exist: /x", "/x cannot be mounted"),
        ("driver failed: Bind for 0.0.0.0:80 failed: port is already allocated", "`ss -ltnp`"),
    ],
)
def test_what_docker_says_becomes_what_to_do(said: str, told: str) -> None:
    order = {"image": "a:1", "devices": "7", "create": {"entrypoint": ["python3"]}}
    error = RuntimeError(f'500 Server Error for http+docker://localhost/start: Internal Server Error ("{said}")')
    explained = words.explain(error, order)
    assert told in explained
    assert "http+docker" not in explained


def test_endings_in_words() -> None:
    assert words.ending({"ExitCode": 137, "OOMKilled": True}, "1g").startswith("was ended for memory (OOMKilled")
    assert words.ending({"ExitCode": 139}, None) == "was ended by SIGSEGV (exit code 139)"
    assert words.ending({"ExitCode": 3}, None) == "ended with exit code 3"
