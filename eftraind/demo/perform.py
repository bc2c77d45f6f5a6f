"""One whole demo run: prepares weights and a daemon, lets the director run, writes results.

Owns the order of set-up and tear-down; the contexts it opens leave no process and no temporary file
behind, however they end.
"""

import json
import queue
from collections.abc import Callable
from typing import TextIO

from eftraind.clock import Clock
from eftraind.demo import data, plot, pretrain
from eftraind.demo.children import Inbox
from eftraind.demo.director import Director
from eftraind.demo.options import Options
from eftraind.demo.screen import Screen
from eftraind.demo.stage import Stage, settings
from eftraind.demo.story import Result
from eftraind.power import find_rails


def perform(options: Options, stream: TextIO, clock: Clock) -> Result:
    """Everything from reading the images to writing the figures."""
    if options.plot is not None:
        plot.check_path(options.plot)
    started_s = clock.monotonic_s()
    dataset = data.load(options.data)
    network = pretrain.load_network(options.network, dataset)
    inbox: Inbox = queue.Queue()
    with Screen(stream, clock) as screen, Stage(options.keep_state, inbox) as stage:
        weights = options.weights
        if weights is None:
            count = pretrain.known_world(dataset)
            screen.say(f"pre-training network {network.name} on {count} images of {dataset.name}")
            weights = stage.state / "start.safetensors"
            pretrain.save(pretrain.learn(network, dataset, options), weights)
        stage.start_daemon(settings(stage, weights, options))
        director = Director(options, dataset, stage, screen, inbox, clock, power_meter())
        result = director.run(started_s)
    screen.finish(result)
    if options.plot is not None:
        plot.draw(options.plot, director.story, result)
        screen.say(f"picture: {options.plot}")
    if options.json is not None:
        text = json.dumps(result.as_json(), indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
        screen.say(f"figures: {options.json}")
    return result


def power_meter() -> Callable[[], float | None]:
    """Reads watts of all rails together; None where there is no sensor."""
    rails = find_rails("/sys")

    def read_w() -> float | None:
        values = [value for rail in rails if (value := rail.read_w()) is not None]
        return sum(values) if values else None

    return read_w
