"""Runs command lines one after the other and prints ``wall cpu rss``: seconds, seconds, MiB of the largest.

A process of its own, with as few imports as possible: what the kernel calls a program's peak memory begins with that of
the process that started it. Run it as ``python -I -S launch.py FILE``; a line of the file is a command, its arguments
are separated by tabs.
"""

from __future__ import annotations

import os
import sys
import time


def main(path: str) -> None:
    """Run the commands of a file; the first that fails ends it all."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 -- pathlib would be the larger part of this process
        commands = [line.rstrip("\n").split("\t") for line in file]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    cpu = rss = 0.0
    start = time.perf_counter()
    for command in commands:
        child = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
        _, status, usage = os.wait4(child, 0)
        if status:
            sys.exit(f"{' '.join(command)} failed with {os.waitstatus_to_exitcode(status)}")
        cpu += usage.ru_utime + usage.ru_stime
        rss = max(rss, usage.ru_maxrss / 1024)
    print(time.perf_counter() - start, cpu, rss)


if __name__ == "__main__":
    main(sys.argv[1])
