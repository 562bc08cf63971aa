"""``ocidist mirror``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import anyio
import anyio.to_thread
from cyclopts import Parameter

from ocidist._io.load import load_module
from ocidist.cli import sources
from ocidist.cli.connecting import connected
from ocidist.cli.failure import PartialFailureError, hinted
from ocidist.cli.options import DEFAULTS, FILE, Common, FileName, Flag, Format
from ocidist.cli.output import Value, document, encoded
from ocidist.errors import UsageError
from ocidist.hosts.config import HostsConfig
from ocidist.observe.counting import counted, in_bytes

if TYPE_CHECKING:
    from ocidist.cli.connecting import Session
    from ocidist.transfer.config import MirrorConfig
    from ocidist.transfer.mirror_report import MirrorReport
    from ocidist.transfer.plan import MirrorPlan
    from ocidist.transfer.shard import Shard

DEFAULT_FILE: Final = "mirror.toml"
MAX_FILE: Final = 4 * 1024 * 1024
"""Bytes of a configuration on standard input."""

MAX_PLAN: Final = 1024 * 1024 * 1024
"""Bytes of a plan."""


async def mirror(
    *,
    file: Annotated[FileName | None, Parameter(name=("--file", "-f"), allow_leading_hyphen=True, metavar=FILE)] = None,
    plan: Flag = False,
    from_plan: Annotated[Path | None, Parameter(name="--from")] = None,
    dry_run: Flag = False,
    shard: str | None = None,
    checkpoint: Path | None = None,
    common: Common = DEFAULTS,
) -> None:
    """Let registries and layouts have what others have, by the rules of a file, and report what was done.

    What is there already is not sent again. One image that fails keeps no other from being copied.

    Args:
        file: The rules; mirror.toml unless given, - for standard input.
        plan: Print what has to be done, as JSON, and do nothing.
        from_plan: Do what such a plan says, instead of making one.
        dry_run: Say what would be done, and do nothing.
        shard: Do only the part of one of several machines: 0/4 is the first of four.
        checkpoint: File that keeps what is done: after an interruption, the same command goes on there.
        common: Options of every verb.
    """
    if common.insecure:
        raise hinted(
            UsageError("--insecure would be meant for every registry of the file"),
            "--insecure-host HOST names one; so does insecure = true in the file's [hosts]",
        )
    if plan and (dry_run or shard is not None or checkpoint is not None):
        raise UsageError(
            "--plan prints the whole plan, and does nothing: --dry-run, --shard and --checkpoint are for --from"
        )
    await load_module("ocidist.transfer.mirror")
    await load_module("ocidist.transfer.mirror_file")
    from ocidist.transfer.mirror import make_plan, run_plan  # noqa: PLC0415 -- see ocidist.cli.commands
    from ocidist.transfer.shard import Shard  # noqa: PLC0415 -- see above

    part = None if shard is None else Shard.parse(shard)
    config = None if from_plan is not None and file is None else await _config(file)
    given = None if from_plan is None else await _plan(from_plan)
    hosts = HostsConfig({} if config is None else config.hosts)
    async with connected(common, hosts=hosts) as session:
        if given is None:
            assert config is not None  # noqa: S101 -- there is a file or a plan
            given = await make_plan(config, client=session.client, shard=part)
        if plan:
            await session.output.write(encoded(f"{given.to_json()}\n"))
        elif dry_run:
            await _foretell(session, given, part)
        else:
            mine = given if part is None else given.part_of(part)
            session.view.expect(sum(not task.present for task in mine.tasks))
            report = await run_plan(
                given, client=session.client, checkpoint=checkpoint, shard=part, hooks=(session.view.hook,)
            )
            await _tell(session, report)
            _judge(report)


async def _config(file: str | None) -> MirrorConfig:
    from ocidist.transfer.config import MirrorConfig  # noqa: PLC0415 -- see mirror

    if file == sources.STDIN:
        data = await sources.whole(file, MAX_FILE, "configuration of a mirror")
        try:
            return MirrorConfig.from_toml(data.decode(), name="standard input")
        except UnicodeDecodeError:
            raise UsageError("standard input is not UTF-8") from None
    if file is None and not await anyio.Path(DEFAULT_FILE).exists():
        raise hinted(UsageError(f"there is no {DEFAULT_FILE} here"), "--file names the rules")
    return await MirrorConfig.from_file(file or DEFAULT_FILE)


async def _plan(path: Path) -> MirrorPlan:
    from ocidist.transfer.plan import MirrorPlan  # noqa: PLC0415 -- see mirror

    data = await sources.whole(str(path), MAX_PLAN, "plan of a mirror")
    # Large plans take seconds to read.
    return await anyio.to_thread.run_sync(MirrorPlan.from_json, data)


async def _foretell(session: Session, plan: MirrorPlan, part: Shard | None) -> None:
    if part is not None:
        plan = plan.part_of(part)
    found: Value = {
        "images": [
            {
                "source": task.source,
                "destination": task.destination,
                "digest": str(task.digest),
                "present": task.present,
                "bytes": task.size,
            }
            for task in plan.tasks
        ],
        "deletions": [task.destination for task in plan.deletions],
        "failures": [failure.to_json() for failure in plan.failures],
        "warnings": list(plan.warnings),
    }
    lines = [
        f"{'present' if task.present else 'copy'}  {task.source} -> {task.destination} ({in_bytes(task.size)})"
        for task in plan.tasks
    ]
    lines += [f"delete  {task.destination}" for task in plan.deletions]
    lines += [f"warning  {warning}" for warning in plan.warnings]
    lines += [f"failed  {failure}" for failure in plan.failures]
    await session.output.result("\n".join(lines), found)
    if plan.failures:
        raise PartialFailureError(f"{counted(len(plan.failures), 'image')} could not be planned")


async def _tell(session: Session, report: MirrorReport) -> None:
    value = report.to_json()
    if session.output.form is not Format.JSONL:
        await session.output.result(str(report), value)
        return
    for image in report.images:
        await session.output.write(encoded(f"{document({'kind': 'image', **image.to_json()})}\n"))
    for failure in report.failures:
        await session.output.write(encoded(f"{document({'kind': 'failure', **failure.to_json()})}\n"))
    counts = {name: each for name, each in value.items() if name not in {"images", "failures"}}
    await session.output.write(encoded(f"{document({'kind': 'report', **counts})}\n"))


def _judge(report: MirrorReport) -> None:
    failures = report.failures
    if failures and not report.images:
        # Nothing at all: what kept the first from being copied says more than that some of it failed.
        raise failures[0].error
    if failures:
        tried = len(failures) + len(report.images)
        raise PartialFailureError(f"{len(failures)} of {tried} images were not mirrored: the report says which")
