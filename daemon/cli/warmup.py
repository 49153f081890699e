"""`sensorweir warmup`: kernels compiled before they are needed, at installation for example."""

from pathlib import Path
from typing import Annotated, Final

import typer

from daemon.cli.files import EX_FAILED, config_or_exit, say

HELP: Final = """Compile kernels ahead of time, so that a start takes a fraction of a second.

With CONFIG those that it needs, without it those of every operator. What is there already is not compiled again. Compiled kernels belong to this version, to this processor and to the versions of Python, numpy and numba; a folder that is copied elsewhere is not used there. A daemon needs it for reading only.

Exit status 0 when all is there, 1 otherwise, 78 when the configuration is wrong.

Example:  sensorweir warmup /etc/sensorweir/gateway.yaml

Example:  sensorweir warmup --kernel-cache /var/cache/sensorweir
"""


def warmup(
    config: Annotated[
        Path | None,
        typer.Argument(help="Configuration file. Default: every operator.", show_default=False),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--kernel-cache",
            help="Where compiled kernels are kept. Default: as sensorweir run finds it.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """See HELP."""
    from daemon.cli.ahead import Maker, steps_of
    from daemon.cli.start import default_cache, progress
    from pipelines.jit import use_ahead, use_cache

    if config is not None:
        config_or_exit(config)
    chosen = cache or default_cache()
    if chosen is None:
        say("sensorweir: there is no folder for compiled kernels")
        say("  hint: name one: --kernel-cache, or CACHE_DIRECTORY")
        raise typer.Exit(EX_FAILED)
    store = use_ahead(use_cache(chosen.resolve()))
    configs = every_operator() if config is None else [config]
    names = list(steps_of(configs))
    left = Maker(store, chosen.resolve(), configs, progress())(names, lambda *_: True)
    if left:
        say(f"sensorweir: not compiled: {', '.join(left)}")
        say(f"  hint: can {store.folder} be written?")
        raise typer.Exit(EX_FAILED)
    kernels = sum(1 for _ in store.folder.glob("*.kernel"))
    say(f"kernels   {kernels} in {store.folder}")


def every_operator() -> list[Path]:
    """The examples: there is one for each operator."""
    import config

    folder = Path(config.__file__).parent / "examples" / "operators"
    return sorted(p for p in folder.glob("*.yaml") if not p.name.endswith(".test.yaml"))
