"""Print what the daemon does, from asyncio: python examples/watch_events.py ENDPOINT [EVENTS]"""

import asyncio
import sys

from eftraind.client import AsyncClient


async def main(endpoint: str, wanted: int) -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()
    async with AsyncClient(endpoint) as client:
        client.on_event("", lambda topic, data: seen.put_nowait(f"{topic}: {data}"))
        print("watching", flush=True)
        for _ in range(wanted):
            print(await seen.get(), flush=True)


endpoint = sys.argv[1] if len(sys.argv) > 1 else "ipc:///run/eftraind/eft.sock"
asyncio.run(main(endpoint, int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000))
