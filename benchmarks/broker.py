"""How fast mail is, beside a raw log on the same disk in the same run.

    python benchmarks/broker.py [--quick] [--json]

The broker runs in a process of its own; this one is 64 senders and 1, 100 or 1000 receivers
on unix sockets. Rounds of all engines are interleaved, and medians are compared: on a busy
machine only the ratios mean something.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import engines

ENGINES = ("log, sends only", "log, every step", "store")
KINDS = ("sent_rates", "rates", "sends", "delivered", "acknowledged", "told")
SENDERS = 64
WAKES = 50
"""Single messages in each round."""
BODY = "x" * 200


class Link:
    """One connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, op: str, *args: object) -> object:
        self.writer.write(json.dumps({"op": op, "args": args}).encode() + b"\n")
        return json.loads(await self.reader.readline())["result"]


class Broker:
    """A running engine with its links."""

    def __init__(self, pid: int, senders: list[Link], receivers: list[Link]) -> None:
        self.pid = pid
        self.senders = senders
        self.receivers = receivers

    def memory_mb(self) -> float:
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def cpu_seconds(self) -> float:
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def start(engine: str, receivers: int, directory: pathlib.Path) -> AsyncIterator[Broker]:
    directory.mkdir(parents=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", engine, str(2 * receivers), str(directory),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    links = [
        Link(*await asyncio.open_unix_connection(str(directory / "socket")))
        for _ in range(SENDERS + receivers)
    ]
    try:
        yield Broker(process.pid, links[:SENDERS], links[SENDERS:])
    finally:
        for link in links:
            link.writer.close()
        process.stdin.close()
        await process.wait()


async def send_and_wake(broker: Broker, count: int) -> float:
    """Send *count* messages to parked receivers, who are told and park again: per second."""
    left = iter(range(count))
    parked = len(broker.receivers)

    async def sender(number: int, link: Link) -> None:
        for message in left:
            await link.ask("send", number, parked + message % parked, BODY)

    async def receiver(number: int, link: Link) -> None:
        seen = 0
        for _ in range(number, count, parked):
            seen = await link.ask("wait", parked + number, seen)
            told[number] = True
            if done:
                return

    done = False
    told = dict.fromkeys(range(min(parked, count)), False)
    async with asyncio.TaskGroup() as group:
        receivers = [
            group.create_task(receiver(number, link))
            for number, link in enumerate(broker.receivers)
        ]
        await asyncio.sleep(0.3 if parked < 500 else 1.0)  # all are parked
        async with asyncio.TaskGroup() as senders:
            before = time.perf_counter()
            for number, link in enumerate(broker.senders):
                senders.create_task(sender(number, link))
        seconds = time.perf_counter() - before
        # Several messages may be one wake-up, so some wait for more than came.
        done = True
        while not all(task.done() for task in receivers):
            for number, task in enumerate(receivers):
                if not task.done():
                    await broker.senders[0].ask("send", 0, parked + number, BODY)
            await asyncio.sleep(0.05)
    assert all(told.values())
    return count / seconds


async def throughput(broker: Broker, count: int) -> tuple[float, list[float], list[float]]:
    """Send *count* messages, lease and acknowledge each: per second, sends and deliveries in s."""
    sent: dict[int, float] = {}
    got: dict[int, float] = {}
    sends: list[float] = []
    left = iter(range(count))

    async def sender(number: int, link: Link) -> None:
        for message in left:
            before = time.perf_counter()
            to = message % len(broker.receivers)
            identifier = await link.ask("send", number, to, BODY)
            sends.append(time.perf_counter() - before)
            sent[identifier] = before

    async def receiver(number: int, link: Link) -> None:
        for _ in range(number, count, len(broker.receivers)):
            for identifier in await link.ask("recv", number):
                got[identifier] = time.perf_counter()
            await link.ask("ack", number)

    async with asyncio.TaskGroup() as group:
        for number, link in enumerate(broker.receivers):
            group.create_task(receiver(number, link))
        await asyncio.sleep(0.3 if len(broker.receivers) < 500 else 1.0)  # all are parked
        before = time.perf_counter()
        for number, link in enumerate(broker.senders):
            group.create_task(sender(number, link))
    seconds = time.perf_counter() - before
    return count / seconds, sends, [got[i] - sent[i] for i in sent if i in got]


async def wake(broker: Broker, number: int) -> tuple[float, float]:
    """One message to a parked receiver: seconds until acknowledged, and until the wake-up."""
    to = len(broker.receivers) + number

    async def waiter() -> float:
        await broker.receivers[number].ask("wait", to, 0)
        return time.perf_counter()

    async with asyncio.TaskGroup() as group:
        told = group.create_task(waiter())
        await asyncio.sleep(0.003)
        before = time.perf_counter()
        await broker.senders[0].ask("send", 0, to, BODY)
        acknowledged = time.perf_counter()
    return acknowledged - before, told.result() - before


def commit_times(directory: pathlib.Path, count: int) -> list[float]:
    """Seconds of one 4 KiB append with fdatasync: the price of any durable commit here."""
    fd = os.open(directory / "commit", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    times = []
    for _ in range(count):
        before = time.perf_counter()
        os.write(fd, b"x" * 4096)
        os.fdatasync(fd)
        times.append(time.perf_counter() - before)
    os.close(fd)
    return times


def at(times: list[float], share: float) -> float:
    """A percentile in milliseconds."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000


async def measure(receivers: int, rounds: int, count: int, directory: pathlib.Path) -> dict:
    results: dict[str, dict] = {
        engine: {
            "sent_rates": [],
            "rates": [],
            "sends": [],
            "delivered": [],
            "acknowledged": [],
            "told": [],
        }
        for engine in ENGINES
    }
    commits: list[float] = []
    async with AsyncExitStack() as stack:
        brokers = {
            engine: await stack.enter_async_context(
                start(engine, receivers, directory / f"{receivers}-{number}")
            )
            for number, engine in enumerate(ENGINES)
        }
        for broker in brokers.values():
            await throughput(broker, count // 4)  # warm up
        for _ in range(rounds):
            commits += commit_times(directory, 100)
            for engine, broker in brokers.items():
                results[engine]["sent_rates"].append(await send_and_wake(broker, count))
                rate, sends, delivered = await throughput(broker, count)
                results[engine]["rates"].append(rate)
                results[engine]["sends"] += sends
                results[engine]["delivered"] += delivered
            for message in range(WAKES):
                # In turn, message by message: a disk's mood changes within a second.
                for engine, broker in brokers.items():
                    acknowledged, told = await wake(broker, message % receivers)
                    results[engine]["acknowledged"].append(acknowledged)
                    results[engine]["told"].append(told)
        idle = await park(brokers["store"])
    return {
        "receivers": receivers,
        "commit_p50_ms": at(commits, 0.5),
        "memory_mb": idle[0],
        "idle_cpu_percent": idle[1],
        "engines": {
            engine: {
                "sent_per_second": statistics.median(got["sent_rates"]),
                "handled_per_second": statistics.median(got["rates"]),
                "send_p50_ms": at(got["sends"], 0.5),
                "send_p99_ms": at(got["sends"], 0.99),
                "delivered_p50_ms": at(got["delivered"], 0.5),
                "delivered_p99_ms": at(got["delivered"], 0.99),
                "one_send_p50_ms": at(got["acknowledged"], 0.5),
                "wake_p50_ms": at(got["told"], 0.5),
                "wake_p99_ms": at(got["told"], 0.99),
            }
            for engine, got in results.items()
        },
        "ratios": {
            "sent_to_log": ratio(results, "sent_rates", "log, sends only"),
            "handled_to_log_sends_only": ratio(results, "rates", "log, sends only"),
            "handled_to_log_every_step": ratio(results, "rates", "log, every step"),
            "wake_to_own_commit": at(results["store"]["told"], 0.5)
            / at(results["store"]["acknowledged"], 0.5),
            "wake_to_log_commit": at(results["store"]["told"], 0.5)
            / at(results["log, sends only"]["acknowledged"], 0.5),
        },
    }


def ratio(results: dict[str, dict], rates: str, to: str) -> float:
    """The median of the ratios of the rounds: neighbours in time share the machine's mood."""
    pairs = zip(results["store"][rates], results[to][rates], strict=True)
    return statistics.median(mine / its for mine, its in pairs)


async def park(broker: Broker) -> tuple[float, float]:
    """(MB, percent of a core) of the broker with all receivers parked in a receive."""
    async with asyncio.TaskGroup() as group:
        parked = [
            group.create_task(link.ask("recv", number))
            for number, link in enumerate(broker.receivers)
        ]
        await asyncio.sleep(2)
        before, clock = broker.cpu_seconds(), time.perf_counter()
        await asyncio.sleep(5)
        used = (broker.cpu_seconds() - before) / (time.perf_counter() - clock)
        memory = broker.memory_mb()
        assert not any(task.done() for task in parked)
        for number in range(len(parked)):
            await broker.senders[0].ask("send", 0, number, BODY)
    return memory, used * 100


def show(result: dict) -> None:
    print(f"\n{result['receivers']} parked receivers, {SENDERS} senders")
    print(
        f"{'':16} {'sent/s':>7} {'handled/s':>9} {'delivered p50/p99':>18} "
        f"{'one send':>9} {'wake p50/p99 ms':>16}"
    )
    for engine, got in result["engines"].items():
        print(
            f"{engine:16} {got['sent_per_second']:7.0f} {got['handled_per_second']:9.0f} "
            f"{got['delivered_p50_ms']:9.2f}/{got['delivered_p99_ms']:8.2f} "
            f"{got['one_send_p50_ms']:9.2f} {got['wake_p50_ms']:8.2f}/{got['wake_p99_ms']:7.2f}"
        )
    ratios = result["ratios"]
    print(
        f"store to log: sent {ratios['sent_to_log']:.0%}; leased and acknowledged "
        f"{ratios['handled_to_log_every_step']:.0%} of a log of every step, "
        f"{ratios['handled_to_log_sends_only']:.0%} of a log of sends only\n"
        f"wake {ratios['wake_to_own_commit']:.2f} x one durable send, "
        f"{ratios['wake_to_log_commit']:.2f} x one to the log; "
        f"fdatasync {result['commit_p50_ms']:.2f} ms; "
        f"{result['memory_mb']:.0f} MB and {result['idle_cpu_percent']:.1f} % CPU with all parked"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object at the end")
    parser.add_argument("--receivers", type=int, nargs="*", default=[1, 100, 1000])
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    if options.serve:
        engine, receivers, directory = options.serve
        asyncio.run(engines.serve(engine, int(receivers), pathlib.Path(directory)))
        return
    rounds, count = (5, 1500) if options.quick else (9, 2000)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="hive-broker-"))
    results = []
    try:
        for receivers in options.receivers:
            results.append(asyncio.run(measure(receivers, rounds, count, directory)))
            if not options.json:
                show(results[-1])
    finally:
        shutil.rmtree(directory)
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
