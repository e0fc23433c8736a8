"""`qkv serve`: an API and a page for finished runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer

from qkv.cli.console import printable, say
from qkv.errors import MissingExtraError

# What the server cannot do without, by the names that are imported.
NEEDED = ("fastapi", "httptools", "prometheus_client", "python_multipart", "uvicorn")


def serve(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders made by qkv train.")
    ],
    host: Annotated[
        str,
        typer.Option(
            metavar="HOST",
            help="Name or address to listen on. Other machines are served only with "
            "--api-key-file or --no-auth.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65_535, help="0 takes any free port.")
    ] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A further name that requests may give this server. May be repeated.",
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Serve only those who send a key of this file, which has one on each line.",
        ),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Serve other machines without keys.")
    ] = False,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads of one prediction.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Predictions side by side.")
    ] = None,
    processes: Annotated[
        bool,
        typer.Option(
            "--processes",
            help="Compute images in processes: a third more a second, for about 300 MB each.",
        ),
    ] = False,
    max_body: Annotated[
        int, typer.Option(metavar="MIB", min=1, max=1024, help="Largest body of a request.")
    ] = 10,
    queue_size: Annotated[
        int, typer.Option(metavar="N", min=1, help="Inputs that may wait for their prediction.")
    ] = 512,
    drain_seconds: Annotated[
        float,
        typer.Option(
            metavar="S", min=0.1, help="Time to answer what has begun when asked to stop."
        ),
    ] = 20.0,
) -> None:
    """Serve finished runs: predictions and explanations as an API, and a page to look at them.

    Stop it with Ctrl-C: what has begun is answered first.
    """
    given: dict[str, Any] = dict(locals())
    del given["runs"]
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"qkv serve needs {', '.join(missing)}", remedy="pip install 'qkv[serve]'"
        )
    from qkv.serving.server import serve as serve_runs
    from qkv.serving.settings import MEBIBYTE, ServingSettings

    given["max_body_bytes"] = given.pop("max_body") * MEBIBYTE
    given["allowed_hosts"] = tuple(given.pop("allow_host") or ())
    settings = ServingSettings.parse(given, where="qkv serve")
    code = serve_runs(runs, settings, say=lambda line: say(printable(line)))
    if code:
        raise typer.Exit(code)
