"""Reading the configuration again while the front runs: all of what it changes, or nothing.

Owns the configuration in force and the front's share of a change: log levels and the list of keys.
What the engine has to change is returned, for others to send.
"""

import logging
from collections.abc import Callable
from typing import Any

from eftraind.config import Config, changes
from eftraind.keys import Peer, contents
from eftraind.service import logs
from eftraind.service.clients import Clients
from eftraind.service.guard import Guard
from eftraind.service.heart import Heart

log = logging.getLogger(__name__)


class Reload:
    """`read_again` reads the file, `cut` ends every connection over the network."""

    def __init__(
        self,
        config: Config,
        *,
        read_again: Callable[[], Config],
        guard: Guard,
        clients: Clients,
        cut: Callable[[], None],
        heart: Heart,
    ) -> None:
        self._config = config
        self.read_again = read_again
        self._guard = guard
        self._clients = clients
        self._cut = cut
        self._heart = heart

    def __call__(self) -> dict[str, Any]:
        """Key -> new value of what changed, for the engine. Raises ConfigError if anything in the
        file cannot change now, and then changes nothing."""
        self._heart.reloading()
        try:
            config = self.read_again()
            changed = changes(self._config, config)
            allowed = self._guard.read_again()
        finally:
            self._heart.reloaded()
        if allowed is not None and allowed != self._guard.allowed:
            changed["keys.clients"] = self._renew_keys(allowed)
        logs.set_levels(changed)
        self._config = config
        log.info("reloaded: %s", ", ".join(sorted(changed)) or "nothing has changed")
        return changed

    def _renew_keys(self, allowed: dict[str, Peer]) -> str:
        """Take the new list, and end what it no longer allows. libzmq cannot end the connections
        of one key, so all over the network end; those still listed are back within a second."""
        gone, changed = self._guard.renew(allowed)
        self._clients.close_users(gone or changed, all_of_network=bool(gone))
        if gone:
            self._cut()
        return f"{contents(allowed)}, {len(gone)} revoked"
