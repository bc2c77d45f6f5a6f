"""The `eftraind` command: reads arguments, calls one function, shows the outcome.

Owns the list of commands, exit statuses (0 done, 78 a configuration that cannot work, 75 another
daemon owns the state, 74 the device is lost, 1 any other error, 2 wrong usage) and the one-line
errors. A command is loaded when it runs, so that `status` does not load the engine nor the engine
the web server.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from eftraind.errors import ConfigError, DeviceLost, EftraindError, GraphError, StateLocked

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78
EXIT_LOCKED = 75
EXIT_DEVICE = 74
HOPELESS = ("storage_permission", "device_unavailable")  # as a wrong key: a restart cannot help


@dataclass(frozen=True)
class Command:
    """`run` and `flags` are written module:function, below `eftraind`.

    `flags` adds arguments to a parser. `run` takes what was parsed and gives an exit status, or a
    text to print.
    """

    name: str
    text: str
    run: str
    flags: str = ""


CONFIG = "commands.daemon:add_config"
PROCESS = "commands.daemon:add_process"
CONTROL = "commands.control:control"
TARGET = "commands.target:add_target"
COMMANDS = (
    Command("run", "start and supervise the daemon's two processes", "commands.daemon:run", CONFIG),
    Command(
        "front",
        "the process with the sockets (started by run, or by systemd)",
        "commands.daemon:front",
        PROCESS,
    ),
    Command(
        "engine",
        "the process with the device (started by run, or by systemd)",
        "commands.daemon:engine",
        "commands.daemon:add_engine",
    ),
    Command(
        "load-overlay",
        "program the FPGA (started by systemd at boot)",
        "commands.daemon:overlay",
        CONFIG,
    ),
    Command(
        "status",
        "show what the daemon is doing",
        "commands.control:status",
        "commands.control:add_status",
    ),
    Command("top", "watch the daemon on a terminal", "top.main:run", "top.main:add_arguments"),
    Command("pause", "stop training; inference goes on", CONTROL, TARGET),
    Command("resume", "train again", CONTROL, TARGET),
    Command(
        "promote", "let the candidate serve now, without waiting for the gate", CONTROL, TARGET
    ),
    Command(
        "rollback",
        "let the previous weights serve again",
        CONTROL,
        "commands.control:add_rollback",
    ),
    Command("checkpoint", "write the serving weights to disk now", CONTROL, TARGET),
    Command(
        "set",
        "change rates of training at once, until the restart",
        "commands.control:change",
        "commands.control:add_set",
    ),
    Command(
        "reload",
        "let the daemon read its file again: rates and log levels",
        "commands.control:reload",
        TARGET,
    ),
    Command(
        "keygen",
        "make keys for the daemon or for a client",
        "commands.keys:keygen",
        "commands.keys:add_keygen",
    ),
    Command(
        "install-service",
        "install the systemd services",
        "installer.commands:install",
        "installer.commands:add_install",
    ),
    Command(
        "uninstall-service",
        "remove the systemd services; what was learnt stays",
        "installer.commands:uninstall",
        "installer.commands:add_uninstall",
    ),
    Command(
        "doctor",
        "examine this machine: what the daemon needs of it, with remedies",
        "doctor.commands:doctor",
        "doctor.commands:add_doctor",
    ),
    Command(
        "support-bundle",
        "collect what somebody elsewhere needs to help, without secrets",
        "doctor.commands:support",
        "doctor.commands:add_bundle",
    ),
    Command(
        "check-config",
        "read a configuration file and say what is wrong",
        "commands.daemon:check",
        CONFIG,
    ),
    Command(
        "reference",
        "print a reference page",
        "commands.pages:reference",
        "commands.pages:add_reference",
    ),
    Command(
        "import",
        "make a network and weights of an ONNX model",
        "onnx_io.commands:bring",
        "onnx_io.options:add_import_arguments",
    ),
    Command(
        "export",
        "write weights into an ONNX model",
        "onnx_io.commands:take",
        "onnx_io.options:add_export_arguments",
    ),
    Command(
        "demo",
        "start everything and learn from real images",
        "demo.main:run",
        "demo.options:add_arguments",
    ),
    Command(
        "train",
        "learn from an .npz file, without a daemon",
        "train.main:run",
        "train.options:add_arguments",
    ),
    Command(
        "memory",
        "what training a network needs of a device",
        "train.sizes:table",
        "train.options:add_sizes",
    ),
    Command(
        "plan",
        "what a network costs on a board, as modelled",
        "planner.main:run",
        "planner.options:add_arguments",
    ),
    Command(
        "bitstream",
        "list bitstreams, or verify them against their manifests",
        "bitstream.main:run",
        "bitstream.options:add_arguments",
    ),
    Command("version", "print the version", "commands.pages:version"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    top = parser()
    given = top.parse_args(arguments)
    if given.run is None:
        top.print_help(sys.stderr)
        return EXIT_USAGE
    try:
        outcome = load(given.run)(given)
        if not isinstance(outcome, str):
            return int(outcome)
        print(outcome)
        return 0
    except (ConfigError, GraphError) as error:
        _complain(error)
        return EXIT_CONFIG
    except StateLocked as error:
        _complain(error)
        return EXIT_LOCKED
    except DeviceLost as error:
        _complain(error)
        return EXIT_DEVICE
    except EftraindError as error:
        _complain(error)
        return EXIT_CONFIG if error.code in HOPELESS else EXIT_ERROR
    except BrokenPipeError:  # `eftraind reference config | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR


def load(reference: str) -> Callable[..., Any]:
    """The function that module:function names."""
    module, _, name = reference.partition(":")
    function: Callable[..., Any] = getattr(import_module(f"eftraind.{module}"), name)
    return function


def _complain(error: EftraindError) -> None:
    from eftraind.service.logs import reads_stderr

    priority = "<3>" if reads_stderr(os.environ) else ""  # so that systemd files it as an error
    print(f"{priority}eftraind: {error}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """The command line with every command's flags."""
    top = argparse.ArgumentParser(
        prog="eftraind", description="A daemon that lets robots keep learning."
    )
    version = "commands.pages:version"
    top.add_argument(
        "--version", action="store_const", dest="run", const=version, help="print the version"
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        below = commands.add_parser(command.name, help=command.text, description=command.text)
        below.set_defaults(run=command.run)
        if command.flags:
            load(command.flags)(below)
    return top
