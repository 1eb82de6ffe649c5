"""How fast mail is, beside a raw log on the same disk in the same run.

    python benchmarks/broker.py [--quick] [--json]

The broker runs in a process of its own; this one is 64 senders and 1, 100 or 1000 receivers
on unix sockets. The engines take turns in slices of a tenth of a second, first one and then the
other, and each slice is compared with its neighbour: on a busy machine only ratios mean something.
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
KINDS = ("sent_rates", "sent_cpu", "rates", "delivered", "acknowledged", "told")
SENDERS = 64
SLICE = 512
"""Messages that one engine sends before it is the other's turn."""
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


@asynccontextmanager
async def parked(broker: Broker) -> AsyncIterator[None]:
    """All receivers are parked, and park again whenever they are told of mail."""
    told = [0] * len(broker.receivers)
    ending = False

    async def receiver(number: int, link: Link) -> None:
        seen = 0
        while not ending:
            seen = await link.ask("wait", len(told) + number, seen)
            told[number] += 1

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(receiver(*each)) for each in enumerate(broker.receivers)]
        await asyncio.sleep(0.3 if len(told) < 500 else 1.0)
        yield
        ending = True
        while not all(task.done() for task in tasks):
            for number, task in enumerate(tasks):
                if not task.done():
                    await broker.senders[0].ask("send", 0, len(told) + number, BODY)
            await asyncio.sleep(0.05)
    assert all(told)


async def send_slice(broker: Broker, first: int) -> tuple[float, float]:
    """Send a slice to the parked receivers in turn: messages per second, and CPU µs of each."""
    left = iter(range(first, first + SLICE))
    receivers = len(broker.receivers)

    async def sender(number: int, link: Link) -> None:
        for message in left:
            await link.ask("send", number, receivers + message % receivers, BODY)

    used, before = broker.cpu_seconds(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, link in enumerate(broker.senders):
            group.create_task(sender(number, link))
    seconds = time.perf_counter() - before
    return SLICE / seconds, (broker.cpu_seconds() - used) / SLICE * 1e6


async def measure_sends(brokers: dict[str, Broker], slices: int, results: dict[str, dict]) -> None:
    """Sends to parked receivers, slice by slice; who begins changes, for the caches' sake."""
    async with AsyncExitStack() as stack:
        for broker in brokers.values():
            await stack.enter_async_context(parked(broker))
            await send_slice(broker, 0)  # warm up
            await send_slice(broker, 0)
        for number in range(slices):
            for engine in in_turn(brokers, number):
                rate, cpu = await send_slice(brokers[engine], number * SLICE)
                results[engine]["sent_rates"].append(rate)
                results[engine]["sent_cpu"].append(cpu)


def in_turn(brokers: dict[str, Broker], number: int) -> list[str]:
    """The engines, another one first each time."""
    engines_ = list(brokers)
    first = number % len(engines_)
    return engines_[first:] + engines_[:first]


async def throughput(broker: Broker, count: int) -> tuple[float, list[float]]:
    """Send *count* messages, lease and acknowledge each: per second, and deliveries in s."""
    sent: dict[int, float] = {}
    got: dict[int, float] = {}
    left = iter(range(count))

    async def sender(number: int, link: Link) -> None:
        for message in left:
            before = time.perf_counter()
            to = message % len(broker.receivers)
            identifier = await link.ask("send", number, to, BODY)
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
    return count / seconds, [got[i] - sent[i] for i in sent if i in got]


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


async def measure(receivers: int, rounds: int, slices: int, directory: pathlib.Path) -> dict:
    results: dict[str, dict] = {engine: {kind: [] for kind in KINDS} for engine in ENGINES}
    commits: list[float] = []
    async with AsyncExitStack() as stack:
        brokers = {
            engine: await stack.enter_async_context(
                start(engine, receivers, directory / f"{receivers}-{number}")
            )
            for number, engine in enumerate(ENGINES)
        }
        sending = {engine: brokers[engine] for engine in (ENGINES[0], "store")}
        await measure_sends(sending, slices, results)
        for broker in brokers.values():
            await throughput(broker, SLICE)  # warm up
        for number in range(rounds):
            commits += commit_times(directory, 100)
            for engine in in_turn(brokers, number):
                rate, delivered = await throughput(brokers[engine], SLICE)
                results[engine]["rates"].append(rate)
                results[engine]["delivered"] += delivered
            for message in range(WAKES):
                # In turn, message by message: a disk's mood changes within a second.
                for engine in in_turn(brokers, message):
                    acknowledged, told = await wake(brokers[engine], message % receivers)
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
                "sent_per_second": statistics.median(got["sent_rates"] or [0]),
                "sent_cpu_us": statistics.mean(got["sent_cpu"] or [0]),
                "handled_per_second": statistics.median(got["rates"]),
                "delivered_p50_ms": at(got["delivered"], 0.5),
                "delivered_p99_ms": at(got["delivered"], 0.99),
                "one_send_p50_ms": at(got["acknowledged"], 0.5),
                "wake_p50_ms": at(got["told"], 0.5),
                "wake_p99_ms": at(got["told"], 0.99),
            }
            for engine, got in results.items()
        },
        "ratios": {
            "sent_to_log": compare(results, "sent_rates", "log, sends only"),
            "handled_to_log_sends_only": compare(results, "rates", "log, sends only"),
            "handled_to_log_every_step": compare(results, "rates", "log, every step"),
            "wake_to_own_commit": at(results["store"]["told"], 0.5)
            / at(results["store"]["acknowledged"], 0.5),
            "wake_to_log_commit": at(results["store"]["told"], 0.5)
            / at(results["log, sends only"]["acknowledged"], 0.5),
        },
    }


def compare(results: dict[str, dict], rates: str, to: str) -> list[float]:
    """Lower quartile, median and upper quartile of the ratios of neighbours in time."""
    pairs = zip(results["store"][rates], results[to][rates], strict=True)
    return statistics.quantiles((mine / its for mine, its in pairs), n=4, method="inclusive")


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
        f"{'':16} {'sent/s':>7} {'CPU µs':>7} {'handled/s':>9} {'delivered p50/p99':>18} "
        f"{'one send':>9} {'wake p50/p99 ms':>16}"
    )
    for engine, got in result["engines"].items():
        print(
            f"{engine:16} {got['sent_per_second']:7.0f} {got['sent_cpu_us']:7.0f} "
            f"{got['handled_per_second']:9.0f} "
            f"{got['delivered_p50_ms']:9.2f}/{got['delivered_p99_ms']:8.2f} "
            f"{got['one_send_p50_ms']:9.2f} {got['wake_p50_ms']:8.2f}/{got['wake_p99_ms']:7.2f}"
        )
    ratios = result["ratios"]
    print(
        f"store to log: sent {spread(ratios['sent_to_log'])}; leased and acknowledged "
        f"{spread(ratios['handled_to_log_every_step'])} of a log of every step, "
        f"{spread(ratios['handled_to_log_sends_only'])} of a log of sends only\n"
        f"wake {ratios['wake_to_own_commit']:.2f} x one durable send, "
        f"{ratios['wake_to_log_commit']:.2f} x one to the log; "
        f"fdatasync {result['commit_p50_ms']:.2f} ms; "
        f"{result['memory_mb']:.0f} MB and {result['idle_cpu_percent']:.1f} % CPU with all parked"
    )


def spread(quartiles: list[float]) -> str:
    low, middle, high = quartiles
    return f"{middle:.0%} ({low:.0%} to {high:.0%})"


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
    rounds, slices = (4, 24) if options.quick else (9, 60)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="hive-broker-"))
    results = []
    try:
        for receivers in options.receivers:
            results.append(asyncio.run(measure(receivers, rounds, slices, directory)))
            if not options.json:
                show(results[-1])
    finally:
        shutil.rmtree(directory)
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
