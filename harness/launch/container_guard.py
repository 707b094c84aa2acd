"""``python -m harness.launch.container_guard``: starts one container, and removes it whatever happens.

Reads its order, one line of JSON, from standard input, and keeps that open: when it closes, Assay has let go or has
ended in any way, and the container is stopped. The container's log goes to standard error, reports (a JSON
object a line) to standard output. The exit status is the container's, or 125 where Docker did not start it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from harness.launch.container import GUARD
from harness.launch.docker_words import NOT_SET_UP, ending, explain
from harness.launch.guard import keep_running
from harness.launch.logs import bound
from harness.launch.processes import descendants, identity, send
from harness.launch.shared_memory import SharedMemory

POLL_SECONDS = 0.3
LOG_SECONDS, LOG_TAIL = 3.0, 200
"""What the rest of the log gets to arrive; lines of it that are taken where that is too short."""
CONFLICT = 409
PATIENCE = 10.0
"""How long a daemon may be silent before the container is given up."""
Trouble = (DockerException, requests.exceptions.RequestException)


def report(**fields: Any) -> None:
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(fields).encode() + b"\n")


class ContainerGuard:
    def __init__(self, order: dict[str, Any], client: docker.DockerClient) -> None:
        self.order, self.parent = order, os.getppid()
        labels = order["create"]["labels"] | {GUARD: identity(os.getpid())}
        ports = {inner: tuple(outer) for inner, outer in order["create"].get("ports", {}).items()}
        self.box = client.containers.create(
            **order["create"] | {"labels": labels} | ({"ports": ports} if ports else {})
        )
        self.segments, self.pid = SharedMemory(), 0
        self.silent_since: float | None = None

    def start(self) -> None:
        self.box.start()
        self.box.reload()
        self.pid = self.box.attrs["State"]["Pid"]
        report(id=self.box.id, pid=self.pid)
        threading.Thread(target=self.copy_log, daemon=True, name="log").start()
        if "ports" in self.order["create"]:
            mapped = [one for ones in self.box.ports.values() for one in ones or ()]
            if not mapped:
                raise DockerException("Docker mapped no port: it has no bridge network here; use --network host")
            report(port=int(mapped[0]["HostPort"]))

    def copy_log(self) -> None:
        with contextlib.suppress(*Trouble):
            for chunk in self.box.logs(stream=True, follow=True):
                os.write(2, chunk)
                bound(2)

    def watch(self) -> None:
        """Until the container ends, Assay is gone, or the daemon stays silent."""
        while not select.select([0], [], [], POLL_SECONDS)[0] and os.getppid() == self.parent:
            if not self.state().get("Running"):
                return
            self.segments.look(descendants(self.pid) | {self.pid})

    def state(self) -> dict[str, Any]:
        try:
            self.box.reload()
        except NotFound:
            return {"Running": False, "ExitCode": 137, "Error": "somebody removed the container"}
        except Trouble as error:
            self.silent_since = self.silent_since or time.monotonic()
            if time.monotonic() - self.silent_since > PATIENCE:
                raise DockerException(f"the Docker daemon stopped answering ({error})") from error
            return {"Running": True}
        self.silent_since = None
        found: dict[str, Any] = self.box.attrs["State"]
        return found

    def end(self) -> int:
        """Stopped, looked at, removed."""
        with contextlib.suppress(NotFound):
            self.box.stop(timeout=int(self.order["grace"]))
        state = self.state()
        self.finish_log()
        report(ended=ending(state, self.order["memory"]))
        self.remove()
        return int(state["ExitCode"])

    def finish_log(self) -> None:
        """The rest of it, or of a flood its end."""
        copying = [thread for thread in threading.enumerate() if thread.name == "log"]
        for thread in copying:
            thread.join(LOG_SECONDS)
        if any(thread.is_alive() for thread in copying):
            with contextlib.suppress(*Trouble):
                os.write(2, b"\n[assay: some of the log is left out; its end]\n" + self.box.logs(tail=LOG_TAIL))

    def remove(self) -> None:
        try:
            self.box.remove(force=True, v=True)
        except NotFound:
            pass
        except APIError as error:
            if error.status_code != CONFLICT:  # that somebody else is removing it
                raise
        self.segments.remove()


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, keep_running)
    with open(0, "rb", buffering=0, closefd=False) as orders:
        order = json.loads(orders.readline() or b"{}")
    if not order:
        return NOT_SET_UP
    guard: ContainerGuard | None = None
    try:
        guard = ContainerGuard(order, docker.DockerClient(base_url=order["docker_host"], timeout=60))
        guard.start()
        guard.watch()
        return guard.end()
    except Trouble as error:
        told = explain(error, order) if isinstance(error, DockerException) else str(error)
        report(failed=told, ended=f"{'was lost' if guard and guard.pid else 'could not be started'}: {told}")
        if guard is not None:
            with contextlib.suppress(*Trouble):
                guard.remove()
                return NOT_SET_UP
            send({guard.pid} - {0}, signal.SIGKILL)  # no daemon: the kernel ends the container with its first process
        return NOT_SET_UP


if __name__ == "__main__":
    sys.exit(main())
