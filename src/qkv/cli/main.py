"""The `qkv` program: its commands, and what becomes of errors."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from qkv import __version__
from qkv.cli.bench import bench
from qkv.cli.console import printable, say
from qkv.cli.data import data
from qkv.cli.evaluate import evaluate
from qkv.cli.explain import explain
from qkv.cli.predict import predict
from qkv.cli.reproduce import reproduce
from qkv.cli.serve import serve
from qkv.cli.study import study
from qkv.cli.train import train
from qkv.errors import BadFilesError, InterruptedRunError, QKVError

STOPPED = 130  # what shells report of a program ended by Ctrl-C

app = typer.Typer(
    name="qkv",
    help="Small attention models: train them in minutes, measure them, put them to work.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train)
app.command()(evaluate)
app.command()(predict)
app.command()(explain)
app.command()(serve)
app.add_typer(data, name="data")
app.add_typer(study, name="study")
app.command()(bench)
app.command()(reproduce)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"qkv {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Hold the options that come before a command."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and exit: 0 done, 1 done in part, 2 a mistake, 130 stopped."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the program on `arguments` and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = typer.main.get_command(app).main(
            list(arguments) or ["--help"], prog_name="qkv", standalone_mode=False
        )
        sys.stdout.flush()
    except InterruptedRunError as stopped:
        say(f"qkv: {printable(str(stopped))}")
        return stopped.exit_code
    except QKVError as error:
        say(f"qkv: error: {printable(str(error))}")
        if isinstance(error, BadFilesError):
            for path, reason in error.files:
                say(f"  {printable(path)}: {printable(reason)}")
        return error.exit_code
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = "qkv" if context is None else context.command_path
        message = printable(" ".join(error.format_message().split()))
        stop = "" if message.endswith((".", "?")) else "."
        say(f"qkv: error: {message}{stop} See {command} --help.")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except BrokenPipeError:
        # The reader has gone; without this the interpreter would complain when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if code == STOPPED:
        say("qkv: stopped")
    return code if isinstance(code, int) else 0
