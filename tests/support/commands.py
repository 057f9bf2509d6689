"""The command as users run it, in this process or in one of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from dataflow_sim.cli.main import main

SOURCE = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    stdout: str
    stderr: str


def in_process(arguments: tuple[str, ...], cwd: Path) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        previous, sys.argv = sys.argv, ["dataflow-sim", *arguments]
        try:
            main()
            code = 0
        except SystemExit as finished:
            code = int(finished.code or 0)
        finally:
            sys.argv = previous
    return Done(code, out.getvalue(), err.getvalue())


def in_own_process(arguments: tuple[str, ...], cwd: Path, seed: str) -> Done:
    done = subprocess.run(
        [sys.executable, "-c", "from dataflow_sim.cli.main import main; main()", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def command(*arguments: str, cwd: Path, seed: str | None = None, code: int = 0) -> Done:
    """Run a command, in a process of its own where a hash seed is given."""
    done = in_process(arguments, cwd) if seed is None else in_own_process(arguments, cwd, seed)
    assert done.code == code, done.stderr
    assert "Traceback" not in done.stderr
    return done
