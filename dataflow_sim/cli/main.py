"""The command `dataflow-sim`: one file a subcommand, one place from error to exit code.

Exit codes are those of `_EXIT_CODES`, which `--help` shows.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version

import click

from dataflow_sim.cli.completion import PROGRAM, VARIABLE
from dataflow_sim.cli.examples import epilog
from dataflow_sim.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, DataflowSimError

# name -> module under dataflow_sim.cli; imported when asked for, so that --help is quick
_COMMANDS = {
    "run": "run",
    "timeline": "timeline",
    "curve": "curve",
    "explain": "explain",
    "replay": "replay",
    "place": "place",
    "inspect": "inspect",
    "networks": "networks",
    "operators": "operators",
    "hardware": "hardware",
    "dram": "dram",
    "whatifs": "whatifs",
    "scenario": "scenario",
    "sweep": "sweep",
    "study": "study",
    "compare": "compare",
    "report": "report",
    "claims": "claims",
    "gallery": "gallery",
    "completion": "completion",
}
_EXIT_CODES = """\b
Exit codes:
  0    done
  1    a proof failed, which is a defect; or an expectation of a scenario is not met
  2    bad input: one message, nothing written
  3    the network does not fit local memory, or buffers their capacity
  130  interrupted
"""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"dataflow_sim.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = module.command
        command.epilog = epilog(cmd_name)
        return command


@click.group(
    cls=_LazyGroup,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version("dataflow-sim"), prog_name="dataflow-sim")
def cli() -> None:
    """What a neural network costs in memory traffic on given hardware."""


def main() -> None:
    """Run the command and turn errors meant for the user into messages and exit codes."""
    try:
        # what Exit was raised with, else nothing
        sys.exit(cli.main(prog_name=PROGRAM, standalone_mode=False, complete_var=VARIABLE))
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted; nothing was written", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except DataflowSimError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        click.echo(f"error: the output cannot be written: {error.strerror}", err=True)
        sys.exit(EXIT_BAD_INPUT)
