"""The `eftraind` command: reads arguments, calls one function, shows the outcome.

Owns exit statuses (0 done, 78 a configuration that cannot work, 75 another daemon owns the state,
1 any other error, 2 wrong usage) and the one-line errors. Imports what a command needs when it
runs, so that `status` does not load the engine and the engine does not load the web server.
"""

import argparse
import faulthandler
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from eftraind import config as configuration
from eftraind.clock import Clock
from eftraind.config import Config
from eftraind.errors import ConfigError, EftraindError, GraphError, StateLocked

EXIT_ERROR = 1
EXIT_CONFIG = 78
EXIT_LOCKED = 75
ENGINE_COMMANDS = {
    "pause": "stop training; inference goes on",
    "resume": "train again",
    "promote": "let the candidate serve now, without waiting for the gate",
    "rollback": "let the previous weights serve again",
    "checkpoint": "write the serving weights to disk now",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    given = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = given.run
    try:
        return run(given)
    except (ConfigError, GraphError) as error:
        _complain(error)
        return EXIT_CONFIG
    except StateLocked as error:
        _complain(error)
        return EXIT_LOCKED
    except EftraindError as error:
        _complain(error)
        return EXIT_ERROR
    except BrokenPipeError:  # `eftraind reference config | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR


def _complain(error: EftraindError) -> None:
    print(f"eftraind: {error}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eftraind", description="A daemon that lets robots keep learning."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, run: Callable[..., int]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    _with_config(add("run", "start and supervise the daemon's two processes", _run))
    for name, text, run in (
        ("front", "the process with the sockets (started by run, or by systemd)", _front),
        ("engine", "the process with the device (started by run, or by systemd)", _engine),
    ):
        command = _with_config(add(name, text, run))
        command.add_argument("--heartbeat-fd", type=int, help=argparse.SUPPRESS)
    status = _with_config(add("status", "show what the daemon is doing", _status))
    status.add_argument("--json", action="store_true", help="as one JSON object")
    for name, text in ENGINE_COMMANDS.items():
        command = _with_config(add(name, text, _control))
        if name == "rollback":
            command.add_argument("--golden", action="store_true", help="to the frozen first model")
    change = _with_config(add("set", "change rates of training at once, until the restart", _set))
    change.add_argument("rates", nargs="+", metavar="KEY=VALUE", help="train.learning_rate=0.01")
    _with_config(add("check-config", "read a configuration file and say what is wrong", _check))
    reference = add("reference", "print a reference page", _reference)
    reference.add_argument("page", choices=("config", "metrics", "defaults", "reproduction"))
    reference.add_argument("--plot", type=Path, metavar="OUT", help="picture of reproduction")
    _add_onnx(
        add("import", "make a network and weights of an ONNX model", _import),
        add("export", "write weights into an ONNX model", _export),
    )
    _add_demo(add("demo", "start everything and learn from real images", _demo))
    training: Any = import_module("eftraind.train.options")
    training.add_arguments(add("train", "learn from an .npz file, without a daemon", _train))
    training.add_sizes(add("memory", "what training a network needs of a device", _memory))
    planning: Any = import_module("eftraind.planner.options")
    planning.add_arguments(add("plan", "what a network costs on a board, as modelled", _plan))
    add("version", "print the version", _version)
    return parser


def _with_config(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "-c", "--config", required=True, metavar="FILE", help="the daemon's YAML file"
    )
    return parser


def _add_demo(parser: argparse.ArgumentParser) -> None:
    options: Any = import_module("eftraind.demo.options")
    options.add_arguments(parser)


def _add_onnx(importer: argparse.ArgumentParser, exporter: argparse.ArgumentParser) -> None:
    options: Any = import_module("eftraind.onnx_io.options")
    options.add_import_arguments(importer)
    options.add_export_arguments(exporter)


def _set_up_process(config: Config, name: str) -> None:
    """Logging to standard error, and stack dumps when the watchdog aborts the process."""
    faulthandler.enable()
    logging.basicConfig(
        stream=sys.stderr,
        level=config.log.level.upper(),
        format=f"%(asctime)s {name} %(levelname)s %(message)s",
    )


def _run(given: argparse.Namespace) -> int:
    from eftraind.sdnotify import Notifier
    from eftraind.service import supervise

    config = configuration.load(given.config)
    _set_up_process(config, "run")
    notifier = Notifier.from_environ(os.environ)
    return supervise.run(given.config, config.supervise, clock=Clock(), notifier=notifier)


def _front(given: argparse.Namespace) -> int:
    from eftraind.service import front

    config = configuration.load(given.config)
    _set_up_process(config, "front")
    return front.run(config, heartbeat_fd=given.heartbeat_fd)


def _engine(given: argparse.Namespace) -> int:
    from eftraind.service import engine
    from eftraind.service.supervise import Heart

    config = configuration.load(given.config)
    _set_up_process(config, "engine")
    clock = Clock()
    heart = Heart(given.heartbeat_fd, clock)
    heart.starting()
    service: Any = None

    def pulse() -> None:
        heart.beat()
        if heart.orphaned:
            service.stop()

    service = engine.create(config, clock=clock, pulse=pulse)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, service.stop)
    service.run()
    return 0


def _control(given: argparse.Namespace) -> int:
    from eftraind.service.request import request

    config = configuration.load(given.config)
    args = {"golden": True} if getattr(given, "golden", False) else {}
    result = request(config.control_endpoint, given.command, args)
    shown = " ".join(f"{key}={value}" for key, value in result.items() if _is_plain(value))
    print(f"{given.command}: done" + (f" ({shown})" if shown else ""))
    return 0


def _set(given: argparse.Namespace) -> int:
    from eftraind.service.request import request

    config = configuration.load(given.config)
    rates = {}
    for text in given.rates:
        key, equals, value = text.partition("=")
        try:
            rates[key] = float(value)
        except ValueError:
            cause = f"{text!r} is not KEY=NUMBER" if equals else f"{text!r} has no value"
            raise ConfigError(cause, remedy="write train.learning_rate=0.01") from None
    request(config.control_endpoint, "set", rates)
    print("set: " + ", ".join(f"{key} is {value:g}" for key, value in rates.items()))
    return 0


def _status(given: argparse.Namespace) -> int:
    from eftraind.service.request import request

    config = configuration.load(given.config)
    result = request(config.control_endpoint, "status", timeout_s=5.0)
    print(json.dumps(result) if given.json else _status_text(result))
    return 0


def _status_text(status: dict[str, Any]) -> str:
    """A table: one section per part, clients one per line."""
    clients = status.pop("clients", [])
    plain = {key: value for key, value in status.items() if not isinstance(value, dict)}
    lines = _rows("daemon", plain)
    for name, part in status.items():
        if isinstance(part, dict):
            lines += _rows(name, part)
    lines.append(f"clients ({len(clients)})")
    lines += [
        f"  {client['producer']:<24} received {client['received_seq']:<10} "
        f"durable {client['durable_seq']:<10} silent {client['silent_s']:.1f} s"
        for client in clients
    ]
    return "\n".join(lines)


def _rows(title: str, part: dict[str, Any]) -> list[str]:
    rows = [title]
    for key, value in part.items():
        if isinstance(value, dict):
            rows += [f"  {key}.{inner:<{max(1, 23 - len(key))}} {v}" for inner, v in value.items()]
        else:
            rows.append(f"  {key:<24} {_plain(value)}")
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool))


def _check(given: argparse.Namespace) -> int:
    networks: Any = import_module("eftraind.networks")
    config = configuration.load(given.config)
    graph = networks.load(config.model.network)
    print(f"{given.config}: good; network {graph.name}, {len(graph.layers)} layers")
    return 0


def _reference(given: argparse.Namespace) -> int:
    if given.plot is not None and given.page != "reproduction":
        raise ConfigError(f"page {given.page} has no picture", remedy="leave --plot out")
    if given.page == "metrics":
        from eftraind import metrics

        text = metrics.reference_table()
    elif given.page == "reproduction":
        planner: Any = import_module("eftraind.planner.main")
        text = planner.reproduction(given.plot)
    else:
        pages = {"config": configuration.reference_table, "defaults": configuration.default_yaml}
        text = pages[given.page]()
    print(text, end="")
    return 0


def _import(given: argparse.Namespace) -> int:
    options: Any = import_module("eftraind.onnx_io.options")
    options.need_onnx()
    importing: Any = import_module("eftraind.onnx_io.importing")
    print(importing.run(given))
    return 0


def _export(given: argparse.Namespace) -> int:
    options: Any = import_module("eftraind.onnx_io.options")
    options.need_onnx()
    exporting: Any = import_module("eftraind.onnx_io.exporting")
    print(exporting.run(given))
    return 0


def _demo(given: argparse.Namespace) -> int:
    demo: Any = import_module("eftraind.demo.main")
    status: int = demo.run(given)
    return status


def _train(given: argparse.Namespace) -> int:
    train: Any = import_module("eftraind.train.main")
    status: int = train.run(given)
    return status


def _memory(given: argparse.Namespace) -> int:
    sizes: Any = import_module("eftraind.train.sizes")
    print(sizes.table(given))
    return 0


def _plan(given: argparse.Namespace) -> int:
    planner: Any = import_module("eftraind.planner.main")
    status: int = planner.run(given)
    return status


def _version(given: argparse.Namespace) -> int:
    from eftraind.service.front import package_version

    print(package_version())
    return 0
