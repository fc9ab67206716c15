"""The command line, ``vimfed``.

Each command imports what it needs when it runs: a short command must not pay for Faust, and the
bridge must not load it.
"""

import atexit
import gc
import logging
import os
import sys
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from vimfed.errors import OperatorError
from vimfed.process.escaping import echo
from vimfed.process.log import configure_logging, tell_last_words
from vimfed.process.ports import free_ports
from vimfed.process.private_files import keep_files_private
from vimfed.process.project_files import project_file
from vimfed.settings import (
    DmaapOutput,
    LogSettings,
    Settings,
    SettingsError,
    load_settings,
    log_format,
    refuse_exposed_secrets,
)

if TYPE_CHECKING:
    from vimfed.kafka.settling_dead_letters import Wanted


class _OneLineErrors(click.Group):
    """A group whose commands end with one line, not a traceback, where the operator can mend it."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OperatorError as error:
            tell_last_words(str(error))
            sys.exit(error.exit_code)


@click.group(cls=_OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="VIMFED_CONFIG",
    default=Path("vimfed.toml"),
    show_default=True,
    show_envvar=True,
    help="The settings file. Every key can also be set by environment, e.g. "
    "VIMFED_KAFKA__BOOTSTRAP.",
)
@click.version_option(version("vim-event-federation"), prog_name="vimfed")
@click.pass_context
def main(ctx: click.Context, config: Path) -> None:
    """Carry the VM state changes of OpenStack clouds to DMaaP and to check_vim_status.

    `vimfed run` starts everything on one machine. In production, run `vimfed bridge`,
    `vimfed worker` and `vimfed publisher` by themselves and scale each by starting more.
    """
    ctx.obj = config
    # What is left when a process ends is nobody's: Python would look through all of it, for a third
    # of a second of CPU time in a worker, before it lets go of it.
    atexit.register(gc.freeze)
    # Until a process configures its log: libraries would tell each failure in their own words, too.
    logging.getLogger().addHandler(logging.NullHandler())
    # oslo.messaging imports it, whichever executor is used; the user cannot mend that.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    # Eventlet's own resolver replaces Python's only where a process is monkey-patched, and none of
    # ours is: without it, what imports oslo.messaging starts a quarter sooner.
    os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")


def _settings(config: Path, process: str) -> Settings:
    try:
        settings = load_settings(config)
    except SettingsError:
        if log_format(config) == "json":  # the error is to be a line of it, too
            configure_logging(LogSettings(format="json"), process)
        raise
    configure_logging(settings.log, process)
    from vimfed.process.event_loop import use_uvloop  # what only asks and prints does without

    use_uvloop()
    keep_files_private(settings.state_dir)
    if process == "run":
        parts = ["bridge", "worker", "publisher", *["gateway"] * settings.gateway.enabled]
        refuse_exposed_secrets(settings, *parts)
    else:
        refuse_exposed_secrets(settings, process)
    return settings


def _operator_settings(config: Path) -> Settings:
    """Return the settings for a command that looks at Kafka."""
    settings = load_settings(config)
    refuse_exposed_secrets(settings, "operator")
    return settings


@main.command()
@click.pass_obj
def bridge(config: Path) -> None:
    """Forward the clouds' notifications to Kafka.

    SIGHUP adds and removes clouds.
    """
    from bridge import service

    def reload() -> Settings:
        settings = load_settings(config)
        refuse_exposed_secrets(settings, "bridge")
        return settings

    sys.exit(service.run(_settings(config, "bridge"), reload=reload))


@main.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Serve HTTP here instead of at web.port; 0: at any free port.",
)
@click.option(
    "--monitoring-port",
    type=click.IntRange(0, 65535),
    help="Serve /healthz, /readyz and /metrics here instead of at web.monitoring_port; 0: at the "
    "API's port.",
)
@click.pass_obj
def worker(config: Path, port: int | None, monitoring_port: int | None) -> None:
    """Keep the instances table, tell events, answer over HTTP.

    SIGHUP adds and removes clouds.
    """
    from web import service

    options: dict[str, int] = {}
    if port is not None:
        options["port"] = port or free_ports(1)[0]
    if monitoring_port is not None:
        options["monitoring_port"] = monitoring_port

    def with_options(settings: Settings) -> Settings:
        web = msgspec.structs.replace(settings.web, **options)
        return msgspec.structs.replace(settings, web=web)

    def reload() -> Settings:
        settings = load_settings(config)
        refuse_exposed_secrets(settings, "worker")
        return with_options(settings)

    sys.exit(service.run(with_options(_settings(config, "worker")), reload))


@main.command()
@click.option("--output", "name", help="The output's name; needed where there are several.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Serve /metrics, /healthz and /readyz here instead of at dmaap.port; 0: at any free port.",
)
@click.pass_obj
def publisher(config: Path, name: str | None, port: int | None) -> None:
    """Publish the events to one output, by default DMaaP.

    More publishers of an output share its load.
    """
    from streams.publisher import service as publisher_service

    settings = _settings(config, "publisher")
    sys.exit(publisher_service.run(settings, _output(settings, name), port))


def _output(settings: Settings, name: str | None) -> DmaapOutput:
    outputs = settings.outputs()
    if name is None and len(outputs) == 1:
        return outputs[0]
    for output in outputs:
        if output.name == name:
            return output
    names = ", ".join(output.name for output in outputs)
    wrong = "name an output with --output" if name is None else f"no output is called {name!r}"
    raise SettingsError(f"{wrong}: dmaap.outputs has {names}")


@main.command()
@click.pass_obj
def gateway(config: Path) -> None:
    """Serve the Message Router's REST API in front of Kafka."""
    settings = _settings(config, "gateway")
    from web.gateway import service as message_router_gateway

    sys.exit(message_router_gateway.run(settings))


@main.command()
@click.pass_obj
def kafka(config: Path) -> None:
    """Run a local Kafka broker until Ctrl-C."""
    from vimfed.local import kafka_service

    sys.exit(kafka_service.run(_settings(config, "kafka")))


@main.command()
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True)
@click.pass_obj
def run(config: Path, workers: int) -> None:
    """Run everything here under supervision until Ctrl-C.

    The first worker serves HTTP at web.port, the others at the ports above it.
    """
    from vimfed.local import supervisor

    settings = _settings(config, "run")
    sys.exit(supervisor.run(settings, config, workers))


@main.command("replay")
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--url", help="oslo.messaging transport URL without a password.")
@click.option("--url-file", help="File that holds the URL, rabbit:// or kafka://.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Messages per second.")
@click.option("--exchange", default="nova", show_default=True, help="nova's control_exchange.")
def replay_trace(
    trace: Path, url: str | None, url_file: str | None, rate: float | None, exchange: str
) -> None:
    """Send recorded notifications to an oslo transport.

    TRACE has one JSON object a line, with routing_key (such as notifications.info), content_type
    and body (the message as it lay in the queue); it may be gzipped. Message ids, timestamps and
    request ids are sent as they were recorded.
    """
    from vimfed.cli import replay

    replay.run(trace, replay.url_of(url, url_file), rate, exchange)


@main.command("check")
@click.option(
    "--process",
    "processes",
    type=click.Choice(["bridge", "worker", "publisher", "gateway", "operator"]),
    multiple=True,
    help="What this one needs alone, with the user of its own; can be given several times.",
)
@click.option("--offline", is_flag=True, help="Ask nobody: the settings and their files alone.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_obj
def check_connections(
    config: Path, processes: tuple[str, ...], offline: bool, as_json: bool
) -> None:
    """Find what would keep a process from its work.

    The settings are validated, and every connection is tried; topics, their settings, rights,
    replicas and disks are looked at. Nothing is changed. Each finding is a line that says how to
    mend it.
    """
    from vimfed.cli import check

    settings = load_settings(config)
    sys.exit(check.run(settings, processes, as_json=as_json, offline=offline))


@main.command("topics")
@click.option(
    "--format",
    "style",
    type=click.Choice(["commands", "strimzi"]),
    default="commands",
    show_default=True,
    help="Commands of Kafka's own tools, or Strimzi's resources.",
)
@click.option(
    "--process",
    "processes",
    type=click.Choice(["bridge", "worker", "publisher", "operator"]),
    multiple=True,
    help="What this one needs alone; can be given several times.",
)
@click.option("--user", default="", help="Instead of the user that the settings name.")
@click.option(
    "--strimzi-cluster", default="my-cluster", show_default=True, help="The Kafka resource's name."
)
@click.pass_obj
def print_topics(
    config: Path, style: str, processes: tuple[str, ...], user: str, strimzi_cluster: str
) -> None:
    """Print the topics and rights that must exist.

    For clusters where the job may create nothing itself. The operator is who runs the commands
    events and dead-letter.
    """
    from vimfed.cli import topics

    plans = topics.plans_of(load_settings(config), processes, user)
    if style == "commands":
        click.echo(topics.as_commands(plans), nl=False)
    else:
        click.echo(topics.as_strimzi(plans, strimzi_cluster), nl=False)


@main.command("sample-settings")
def sample_settings() -> None:
    """Print a settings file with every option explained."""
    click.echo(project_file("vimfed.toml").read_text(encoding="utf-8"), nl=False)


@main.command("asyncapi")
@click.pass_obj
def print_asyncapi(config: Path) -> None:
    """Print the AsyncAPI 3 document of topics and messages."""
    from web.asyncapi import asyncapi_document

    document = msgspec.json.encode(asyncapi_document(load_settings(config)))
    click.echo(msgspec.json.format(document, indent=2))


@main.command("settings-reference", hidden=True)
def print_settings_reference() -> None:
    """Print docs/configuration.md."""
    from vimfed.cli import settings_reference

    click.echo(settings_reference.reference(), nl=False)


@main.command("hash-password")
def print_password_hash() -> None:
    """Print a password's hash, for web.auth.users.

    The password is asked for, or read from standard input.
    """
    from web.auth.passwords import hash_password

    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise click.UsageError("an empty password protects nothing")
    click.echo(hash_password(password))


@main.command("first-login")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
def make_first_login(folders: tuple[Path, ...]) -> None:
    """Make the secrets of a first login.

    Each of FOLDERS gets the files password, for a user, and peer-secret, for
    web.auth.peer_secret_file; those that are there stay as they are. None is shown.
    """
    from vimfed.cli import first_login

    for folder in folders:
        made = first_login.make(folder)
        for path in made:
            echo(f"made {path}")
        if not made:
            echo(f"nothing to make: {folder} has both")


@main.command("demo")
@click.pass_obj
def run_demo(config: Path) -> None:
    """Run everything, replay what a nova sent, show the result."""
    from vimfed.cli import demo

    settings = load_settings(config)
    keep_files_private(settings.state_dir)
    sys.exit(demo.run(settings, config))


def _vim_ids(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the clouds of the settings file whose vim_id begins so, for the shell."""
    try:
        vims = load_settings(ctx.find_root().params["config"]).vims
    except OperatorError:
        return []
    return [vim.vim_id for vim in vims if vim.vim_id.startswith(begun)]


def _kinds(_ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    from streams.core.kinds import EVENT_KINDS

    return [kind for kind in sorted(EVENT_KINDS) if kind.startswith(begun.upper())]


@main.command("status")
@click.argument("vim", required=False, shell_complete=_vim_ids)
@click.option("--url", help="Ask the worker here, instead of at web.host and web.port.")
@click.option("--login-file", help="File that holds USER:PASSWORD, or a token, for the worker.")
@click.option(
    "--at",
    "addresses",
    multiple=True,
    metavar="PROCESS=URL",
    envvar="VIMFED_STATUS_AT",
    help="Ask bridge, gateway or publisher.OUTPUT here; can be given several times.",
)
@click.option("--once", is_flag=True, help="Print it once, also on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print it once, as JSON.")
@click.pass_obj
def show_status(
    config: Path,
    vim: str | None,
    url: str | None,
    login_file: str | None,
    addresses: tuple[str, ...],
    once: bool,
    as_json: bool,
) -> None:
    """Show clouds, workers, bridge and outputs.

    On a terminal it is a table that is kept up to date until Ctrl-C. VIM is a vim_id: of that cloud
    alone.
    """
    from vimfed.cli import status

    where = status.Asked(url, login_file, status.addresses_of(addresses))
    status.run(load_settings(config), vim, where, once=once, as_json=as_json)


@main.command("events")
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--vim", multiple=True, help="Of this cloud, a vim_id.", shell_complete=_vim_ids)
@click.option("--kind", multiple=True, help="Of this kind, e.g. DELETE.", shell_complete=_kinds)
@click.option("--instance", multiple=True, help="Of this instance.")
@click.option("--json", "as_json", is_flag=True, help="Print each as a line of JSON.")
@click.option(
    "--from",
    "start",
    type=click.Choice(["beginning", "now"]),
    help="By default from now on with --follow, else from the beginning.",
)
@click.pass_obj
def print_events(
    config: Path,
    follow: bool,
    vim: tuple[str, ...],
    kind: tuple[str, ...],
    instance: tuple[str, ...],
    as_json: bool,
    start: str | None,
) -> None:
    """Print the events that Kafka keeps.

    They are read from the events topic, before any subscription is applied; those of an instance
    come in their order. Each of the options that choose can be given several times.
    """
    from vimfed.cli import events

    wanted = events.WantedEvents(
        frozenset(vim), frozenset(map(str.upper, kind)), frozenset(instance)
    )
    beginning = start == "beginning" or (start is None and not follow)
    settings = _operator_settings(config)
    events.run(settings, wanted, beginning=beginning, follow=follow, as_json=as_json)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script.

    For bash: eval "$(vimfed completion bash)", in ~/.bashrc to keep it.
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    if complete is None:
        raise click.BadParameter(f"click knows no {shell}")
    click.echo(complete(main, {}, "vimfed", "_VIMFED_COMPLETE").source())


_MOMENT = click.DateTime(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"])


@main.group("output")
def output_commands() -> None:
    """Pause, resume or replay one output.

    NAME is an output's name, `dmaap` where the settings name none.
    """


def _output_names(ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the outputs of the settings file whose name begins so, for the shell."""
    try:
        outputs = load_settings(ctx.find_root().params["config"]).outputs()
    except OperatorError:
        return []
    return [output.name for output in outputs if output.name.startswith(begun)]


_OUTPUT = click.argument("name", shell_complete=_output_names)


@output_commands.command("pause")
@_OUTPUT
@click.pass_obj
def pause_output(config: Path, name: str) -> None:
    """Let what comes for an output wait in Kafka.

    It takes a second or so. Kafka keeps what waits for kafka.retention.events, or .measurements:
    resume it before that.
    """
    from vimfed.cli import output

    settings = _operator_settings(config)
    output.pause(settings, _output(settings, name))


@output_commands.command("resume")
@_OUTPUT
@click.pass_obj
def resume_output(config: Path, name: str) -> None:
    """Let a paused output go on, with what has waited first."""
    from vimfed.cli import output

    settings = _operator_settings(config)
    output.resume(settings, _output(settings, name))


@output_commands.command("replay")
@_OUTPUT
@click.option(
    "--from",
    "since",
    type=_MOMENT,
    required=True,
    help="When Kafka took the first event that is sent again; UTC.",
)
@click.option("--dry-run", is_flag=True, help="Say how many there are, and do nothing.")
@click.pass_obj
def replay_output(config: Path, name: str, since: datetime, dry_run: bool) -> None:
    """Send an output again what it got since a time.

    The events come in their order, with their ids; then those that have come meanwhile. The
    subscriptions of their time decide which of them are sent.
    """
    from vimfed.cli import output

    settings = _operator_settings(config)
    output.replay(settings, _output(settings, name), since.replace(tzinfo=UTC), is_tried=dry_run)


@main.group("dead-letter")
def dead_letter_commands() -> None:
    """List, show, replay or drop what could not be handled.

    IDS are those that `list` prints, partition@offset. What is replayed or dropped is not listed
    any more; its bytes stay until the dead-letter topic's retention removes them.
    """


def _choosing(command: Any) -> Any:
    """Add the options that choose dead letters."""
    for option in (
        click.option("--since", type=_MOMENT, help="Not older; UTC."),
        click.option("--until", type=_MOMENT, help="Older; UTC."),
        click.option("--error", default="", help="The error contains this text."),
        click.option("--vim", default="", help="Of this cloud, a vim_id."),
    ):
        command = option(command)
    return click.pass_obj(command)


def _wanted(since: datetime | None, until: datetime | None, error: str, vim: str) -> "Wanted":
    from vimfed.kafka.settling_dead_letters import Wanted

    return Wanted(
        since and since.replace(tzinfo=UTC), until and until.replace(tzinfo=UTC), error, vim
    )


@dead_letter_commands.command("list")
@_choosing
def list_dead_letters(config: Path, **choice: Any) -> None:
    """Print id, time, cloud, source, size and error of each, separated by tabs."""
    from vimfed.cli import dead_letter as dead_letters

    dead_letters.list_all(_operator_settings(config), _wanted(**choice))


@dead_letter_commands.command("show")
@click.argument("letter_id", metavar="ID")
@click.pass_obj
def show_dead_letter(config: Path, letter_id: str) -> None:
    """Print the headers, the key and the bytes of one."""
    from vimfed.cli import dead_letter as dead_letters

    dead_letters.show(_operator_settings(config), letter_id)


@dead_letter_commands.command("replay")
@click.argument("ids", nargs=-1)
@_choosing
def replay_dead_letters(config: Path, ids: tuple[str, ...], **choice: Any) -> None:
    """Give them back to where they came from; events go to the output that did not take them."""
    from vimfed.cli import dead_letter as dead_letters

    sys.exit(dead_letters.replay(_operator_settings(config), _wanted(**choice), ids))


@dead_letter_commands.command("drop")
@click.argument("ids", nargs=-1)
@_choosing
def drop_dead_letters(config: Path, ids: tuple[str, ...], **choice: Any) -> None:
    """Settle them without replaying them."""
    from vimfed.cli import dead_letter as dead_letters

    dead_letters.drop(_operator_settings(config), _wanted(**choice), ids)
