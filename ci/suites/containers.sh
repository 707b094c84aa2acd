#!/bin/sh
# Servers in real containers: a Docker daemon of its own on a socket of its own, an image made from local files (no
# registry is asked), the reference engine served from it, and every way in which a container can fail to start or end.
# As root on Debian or Ubuntu it brings up a daemon of its own (and installs docker.io, 62 MB, if there is no dockerd); as
# somebody else, or with CONTAINERS_DOCKER_HOST=URL, it uses the daemon that is there. Nothing is left behind: containers,
# image, daemon and its folder go.
set -eu
cd "$(dirname -- "$0")/../.."
work=$(mktemp -d /tmp/assay-containers.XXXXXX)
host=${CONTAINERS_DOCKER_HOST:-}
image=localhost/assay-local:1
daemon=

finish() {
    code=$?
    trap - EXIT INT TERM HUP
    if [ -n "${DOCKER_HOST:-}" ]; then
        left=$(docker ps -aq --filter label=assay.guard 2>/dev/null || true)
        [ -z "$left" ] || { echo "containers: left behind: $left"; code=1; docker rm -f $left >/dev/null 2>&1 || true; }
        docker rmi -f "$image" >/dev/null 2>&1 || true
    fi
    if [ -n "$daemon" ]; then
        kill "$daemon" 2>/dev/null || true
        tries=100
        while kill -0 "$daemon" 2>/dev/null && [ $tries -gt 0 ]; do sleep 0.1; tries=$((tries - 1)); done
        kill -9 "$daemon" 2>/dev/null || true
        umount "$work/exec/netns/default" 2>/dev/null || true
        for group in /sys/fs/cgroup/*/docker; do
            [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
        done
    fi
    rm -rf "$work"
    exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

[ -n "$host" ] || [ "$(id -u)" = 0 ] || host=${DOCKER_HOST:-unix:///var/run/docker.sock}
if [ -z "$host" ]; then
    if ! command -v dockerd >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io >"$work/apt.log" 2>&1 ||
            { tail "$work/apt.log"; exit 2; }
    fi
    host=unix://$work/docker.sock
    echo '{}' >"$work/daemon.json"
    # No bridge and no packet filter: containers use the host's network, and a sandbox allows no more.
    setsid dockerd --config-file="$work/daemon.json" --host="$host" --data-root="$work/data" --exec-root="$work/exec" \
        --pidfile="$work/docker.pid" --oom-score-adjust=0 --exec-opt native.cgroupdriver=cgroupfs --bridge=none \
        --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false >"$work/dockerd.log" 2>&1 </dev/null &
    daemon=$!
fi
export DOCKER_HOST="$host"
tries=300
until docker version >/dev/null 2>&1; do
    tries=$((tries - 1))
    if [ $tries = 0 ] || { [ -n "$daemon" ] && ! kill -0 "$daemon" 2>/dev/null; }; then
        tail -n 20 "$work/dockerd.log" 2>/dev/null
        echo "containers: no Docker daemon at $host"
        exit 2
    fi
    sleep 0.1
done
python ci/containers/local_image.py | docker import --change 'ENV PATH=/opt/assay/bin:/usr/bin:/bin' - "$image" >/dev/null
ASSAY_TEST_VOLUMES=$(python ci/containers/local_image.py --volumes)
export ASSAY_TEST_IMAGE="$image" ASSAY_TEST_VOLUMES

python -m pytest -n0 -m containers --timeout 300 tests/harness/drill tests/harness/launch "$@"
