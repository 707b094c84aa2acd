"""The ``assay`` command: reads arguments, calls, returns the exit code. Usage: ``assay run``, ``assay run --help``.

Exit codes: 0 all passed, 1 a check failed (or the engine died in the middle), 2 could not do the job or tested nothing,
3 cannot tell, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from harness.errors import JobError
from harness.progress import new_console
from harness.verdict import INTERRUPTED, NOT_DONE, PASSED

if TYPE_CHECKING:
    from harness.session import Outcome, Wishes

ENGINE_PACKAGES = (
    "torch", "transformers", "tokenizers", "safetensors", "scipy", "allpairspy", "aiohttp", "psutil", "fastapi",
    "starlette", "uvicorn", "prometheus_client", "pydantic", "docker", "pytest", "hypothesis", "pytest_benchmark",
)  # fmt: skip
"""Of the extra ``engine``: a plain install has `assay probe` alone."""
JOB_NAMES = (
    "Jobs, in their order: token-drift, vit-batching, vit-batching-drill, equal-to-alone, performance. "
    "More, run when named: differential, hostile, native-decode, processor-reuse, soak, token-in-token-out."
)
"""Written out, so that ``--help`` need not load what the jobs need."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in DELEGATED:
        return _guarded(lambda: _delegate(arguments[0], arguments[1:]))
    parsed = build_parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = parsed.command
    return _guarded(lambda: command(parsed))


def _guarded(work: Callable[[], int]) -> int:
    try:
        return work()
    except JobError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"[bold red]error:[/] {str(error).replace('[', chr(92) + '[')}", highlight=False
        )
        return NOT_DONE
    except OSError as error:
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", markup=False, highlight=False)
        return NOT_DONE
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] not in ENGINE_PACKAGES:
            raise
        Console(stderr=True, soft_wrap=True).print(
            f"[bold red]error:[/] this needs {missing.name}: pip install 'vlm-assay\\[engine]'", highlight=False
        )
        return NOT_DONE
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; servers are ended, what was measured is in the partial record")
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="assay", description="Does a serving engine run exactly what it was sent?")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = "run jobs on launched servers, judge, record and show"
    _add_run(commands.add_parser("run", help=run, description=run.capitalize() + ".", epilog=JOB_NAMES))
    load = "put a server under load: planned arrivals, latencies, goodput, tokens by our own count"
    _add_load(commands.add_parser("load", help=load, description=load.capitalize() + "."))
    ab = "a candidate against a baseline: regressed, not regressed, or cannot tell, at stated error rates"
    _add_ab(commands.add_parser("ab", help=ab, description=ab.capitalize() + "."))
    commands.add_parser("serve", help="serve the reference engine over HTTP (assay serve --help)", add_help=False)
    commands.add_parser(
        "predict", help="what any engine must run for a request, without weights (assay predict --help)", add_help=False
    )
    commands.add_parser("sentinel", help="accuracy or sensitivity of the sentinel model", add_help=False)
    commands.add_parser("faults", help="the fault catalogue, and which checks see it", add_help=False)
    commands.add_parser("ab-check", help="error rates of A/B verdicts, from recorded rounds", add_help=False)
    commands.add_parser("bench", help="speed against other engines, and of each toggle", add_help=False)
    commands.add_parser("conformance", help="the properties, put to several implementations", add_help=False)
    commands.add_parser("probe", help="a report card of any running server (assay probe URL)", add_help=False)
    commands.add_parser("accuracy", help="right answers under several settings (assay accuracy TASK)", add_help=False)
    report = commands.add_parser("report", help="make the page of a run record again")
    report.add_argument("record", type=Path, help="RUN.json, or RUN.partial.jsonl of a run that broke off")
    report.add_argument("--out", type=Path, help="where to write the page (default: beside the record)")
    report.set_defaults(command=_report)
    sweep = "remove processes, containers and files that killed runs left"
    sweeping = commands.add_parser("sweep", help=sweep, description=sweep.capitalize() + ".")
    sweeping.add_argument(
        "--docker-host", metavar="URL", help="the daemon (default: $DOCKER_HOST, else this machine's)"
    )
    sweeping.set_defaults(command=_sweep)
    commands.add_parser("version", help="print versions").set_defaults(command=_version)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs", nargs="*", metavar="JOB", help="job names or job files (.toml); default: all shipped jobs"
    )
    parser.add_argument("--samples", type=int, metavar="N", help="requests a job sends to each setting")
    parser.add_argument("--accuracy-floor", type=float, metavar="SHARE", help="least share of right answers, 0 to 1")
    parser.add_argument(
        "--plant", metavar="FAULT", help="plant a fault of the catalogue, such as F1-01: the run must go red"
    )
    _add_wishes(parser)
    parser.set_defaults(command=_run)


def _add_load(parser: argparse.ArgumentParser) -> None:
    from harness.load import options

    options.add(parser)
    _add_wishes(parser)
    parser.set_defaults(command=_load)


def _add_ab(parser: argparse.ArgumentParser) -> None:
    from harness.load import ab_options

    ab_options.add(parser)
    _add_wishes(parser)
    parser.set_defaults(command=_ab)


def _add_wishes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", help="engine under test: a name or module:Class (default: reference)")
    parser.add_argument("--model", help="a packaged sentinel or a checkpoint directory (default: sentinel-qwen2.5-vl)")
    parser.add_argument("--seed", type=int, help="seed of every workload (default: 0)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", dest="directory", help="where records go (default: assay-runs)"
    )
    parser.add_argument(
        "--toggle",
        action="append",
        dest="toggles",
        metavar="NAME=SETTING",
        help="a setting for every launch; repeatable",
    )
    parser.add_argument(
        "--startup-timeout",
        type=float,
        metavar="S",
        help="seconds a server may take to be ready (default: the target's own)",
    )
    parser.add_argument(
        "--known",
        type=Path,
        metavar="FILE",
        help="known divergences (.toml) of a target, beside those that are shipped",
    )
    parser.add_argument("--python", metavar="PATH", help="Python of the environment that has the engine")
    parser.add_argument(
        "--engine-arg",
        action="append",
        dest="engine_args",
        metavar="ARG",
        help="a word more for the engine's own command line, as --engine-arg=--max-model-len=2048; repeatable",
    )
    parser.add_argument(
        "--request-timeout", type=float, metavar="S", help="seconds one request may take, whole (default: 60)"
    )
    _add_place(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress, only the table")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON instead of the table")


def _add_place(parser: argparse.ArgumentParser) -> None:
    """Names as in :class:`harness.launch.place.Place`."""
    place = parser.add_argument_group("where the servers are", "without any of these: processes of this machine")
    place.add_argument(
        "--url",
        action="append",
        metavar="[SETTING=]URL",
        help="a server that runs already: nothing is started or stopped; one for each setting that a job compares",
    )
    place.add_argument("--api-key", metavar="VARIABLE", help="environment variable that holds the key of --url")
    place.add_argument("--image", metavar="REF", help="run each server in a container of this image")
    place.add_argument("--vendor", choices=["nvidia", "amd", "cpu"], help="cards to give it (default: what is here)")
    place.add_argument("--devices", metavar="0,1", help="which cards (default: all)")
    place.add_argument("--pull", action="store_true", default=None, help="pull the image if it is not here")
    place.add_argument("--docker-host", metavar="URL", help="the daemon (default: $DOCKER_HOST, else this machine's)")
    place.add_argument("--network", choices=["host", "mapped"], help="the host's network, or one port mapped")
    place.add_argument("--shm-size", metavar="SIZE", help="shared memory of a container (default: 16g)")
    place.add_argument("--memory", metavar="SIZE", help="memory limit of a container (default: none)")
    place.add_argument(
        "--volume",
        action="append",
        dest="volumes",
        metavar="HERE:THERE[:rw]",
        help="a folder to mount; the model's own is mounted anyway",
    )
    place.add_argument(
        "--ulimit", action="append", dest="ulimits", metavar="NAME=N", help="a limit, such as memlock=-1"
    )


def _run(arguments: argparse.Namespace) -> int:
    return _show(arguments, _wishes(arguments)).code


def _load(arguments: argparse.Namespace) -> int:
    from harness.jobs.load import load_job
    from harness.load import options
    from harness.records import load_record
    from harness.report.load_chart import print_load

    wishes = _wishes(argparse.Namespace(**vars(arguments), jobs=[]))
    wishes.declared = [load_job(options.asked(arguments))]
    outcome = _show(arguments, wishes)
    if not arguments.json:
        print_load(new_console(), load_record(outcome.record))
    return outcome.code


def _ab(arguments: argparse.Namespace) -> int:
    from harness.load import ab_options

    wishes = _wishes(argparse.Namespace(**vars(arguments), jobs=[]))
    wishes.declared = [ab_options.asked(arguments)]
    return _show(arguments, wishes).code


def _show(arguments: argparse.Namespace, wishes: Wishes) -> Outcome:
    """Run ``wishes`` with progress, verdicts and annotations where the caller wants them."""
    from harness import github, session, summary
    from harness.progress import LiveBars, PlainLines, Silent

    err = new_console(stderr=True)
    if arguments.quiet:
        showing: Silent | PlainLines = Silent()
    else:
        showing = LiveBars(err) if err.is_terminal else PlainLines(err)
    with showing if isinstance(showing, LiveBars) else nullcontext():
        outcome = session.run(wishes, showing)
    if arguments.json:
        sys.stdout.write(summary.as_json(outcome) + "\n")
    else:
        summary.print_summary(new_console(), outcome)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        sys.stderr.writelines(f"{line}\n" for line in github.error_lines(outcome.filed))
        github.add_summary(outcome.filed)
    return outcome


def wishes_of(arguments: Sequence[str], **others: Any) -> Wishes:
    """What ``assay run ARGUMENTS`` asks for. ``others`` go before a job file's values and after the arguments."""
    from harness.errors import UsageError

    try:
        parsed = build_parser().parse_args(["run", *arguments])
    except SystemExit as stop:
        raise UsageError(f"assay run {' '.join(arguments)}: these options are not understood") from stop
    return _wishes(parsed, others)


def _wishes(arguments: argparse.Namespace, others: Mapping[str, Any] = MappingProxyType({})) -> Wishes:
    from harness.jobfile import read_wishes

    given = {**others, **{name: value for name, value in vars(arguments).items() if value is not None}}
    return read_wishes(given.pop("jobs"), given)


def _report(arguments: argparse.Namespace) -> int:
    from harness.records import load_record
    from harness.report.page import write_page

    page = write_page(load_record(arguments.record), arguments.out or arguments.record.with_suffix(".html"))
    sys.stdout.write(f"page    {page}\n")
    return PASSED


def _sweep(arguments: argparse.Namespace) -> int:
    from harness.errors import LaunchError
    from harness.launch.container import ContainerSpec, connect, sweep_containers
    from harness.launch.sweep import sweep

    found = sweep()
    try:
        client = connect(ContainerSpec("", docker_host=arguments.docker_host or "").address)
        found += sweep_containers(client)
    except LaunchError as error:
        sys.stdout.write(f"containers were not looked at: {error}\n")
    sys.stdout.write("".join(f"removed {line}\n" for line in found) or "nothing was left\n")
    return PASSED


def _version(arguments: argparse.Namespace) -> int:
    from harness.surroundings import assay_version, versions

    others = ", ".join(f"{name} {version}" for name, version in versions().items() if name != "vlm-assay")
    sys.stdout.write(f"assay {assay_version()} ({others})\n")
    return PASSED


DELEGATED = {
    "ab-check": "harness.error_rates.cli",
    "accuracy": "harness.tasks.cli",
    "bench": "harness.bench.cli",
    "conformance": "harness.conformance.cli",
    "faults": "harness.faults.cli",
    "predict": "reference_engine.predict_cli",
    "probe": "harness.probe.cli",
    "sentinel": "reference_engine.sentinels.evaluate",
    "serve": "reference_engine.server.cli",
}
"""Commands with a ``main(arguments)`` of their own, by its module: loaded only when asked for."""


def _delegate(command: str, arguments: list[str]) -> int:
    code: int = import_module(DELEGATED[command]).main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
