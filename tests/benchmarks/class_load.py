"""A class under load: so many notebooks on loopback tell values and checks, and everything that was told is counted.

    python tests/benchmarks/class_load.py --students 60 --seconds 300 --rate 20 --kill

`--kill` kills the server in the middle without a warning and starts it again on the same folder. Exit code 1 where anything
is lost or there twice, or where the board or the students' addresses answer later than in half a second (p95).
"""

import argparse
import http.client
import json
import multiprocessing
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from labkit.workshop.classroom.line import Caller, Unreachable
from labkit.workshop.seat import Seat

ROOT = Path(__file__).resolve().parents[2]
START = """
import sys
from labkit.dashboard.class_app import start
start(sys.argv[1], int(sys.argv[2]), here=True, open_browser=False)
"""
LIMIT_MS = 500
AWAY = 3.0
"""Seconds between the end of the server and its next start."""
WORDS = ("the shape is wrong.", "the shares do not add up to 1.", "a leaf is missing.")


class Server:
    """`labkit class start` in a process of its own."""

    def __init__(self, folder: Path, port: int):
        self.folder, self.port, self.log = folder, port, folder.parent / "class.log"
        self.env = {**os.environ, "LABKIT_HOME": str(folder.parent / "home")}
        self.start()

    def start(self) -> None:
        with self.log.open("w") as log:
            command = [sys.executable, "-c", START, str(self.folder), str(self.port)]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 120
        while "Ctrl-C" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, "the class did not open within two minutes"
            time.sleep(0.1)
        text = self.log.read_text()
        self.code = re.search(rf"127\.0\.0\.1:{self.port}/(\S+)", text)[1]
        self.board, self.token = re.search(r"http://127\.0\.0\.1:(\d+)/enter\?token=(\S+)", text).groups()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(120)


def study(folder: Path, port: int, code: str, first: int, count: int, seconds: float, rate: float, tell) -> None:
    """Some students in one process: each tells its values in order, and a check a minute."""
    seats = [Seat("127.0.0.1", port, code, f"Student {n}", folder / f"seat{n}") for n in range(first, first + count)]
    told, began, next_check = 0, time.monotonic(), 0.0
    while (now := time.monotonic() - began) < seconds:
        while told < now * rate:
            for seat in seats:
                seat.tell("value", run="net", name="loss", step=told, value=1 / (1 + told) + random.random())
            told += 1
        if now >= next_check:
            for seat in seats:
                right = random.random() < 0.5
                says = "Right." if right else f"Not yet: {random.choice(WORDS)}"
                seat.tell("check", exercise=f"exercise {int(now // 60)}", right=right, says=says)
            next_check += 60
        time.sleep(0.01)
    ended = time.monotonic()
    while any(seat.waiting for seat in seats) and time.monotonic() - ended < 300:
        time.sleep(0.1)
    checks = int(-(-seconds // 60))
    tell.put((first, count, told, checks, sum(seat.waiting for seat in seats), time.monotonic() - ended))
    for seat in seats:
        seat.leave()


class Clock(threading.Thread):
    """Asks again and again and notes how long each answer took; what is not answered is counted apart."""

    def __init__(self, name: str, every: float, ask):
        super().__init__(daemon=True)
        self.name, self.every, self.ask, self.over = name, every, ask, threading.Event()
        self.took, self.missed = [], 0

    def run(self) -> None:
        while not self.over.wait(self.every):
            began = time.perf_counter()
            try:
                self.ask()
            except (OSError, Unreachable, http.client.HTTPException, AssertionError):
                self.missed += 1
            else:
                self.took.append(1000 * (time.perf_counter() - began))

    def p95(self) -> float:
        return float(np.percentile(self.took, 95)) if self.took else float("inf")

    def __str__(self) -> str:
        if not self.took:
            return f"{self.name:28} no answer at all"
        p50, p95, most = np.percentile(self.took, [50, 95, 100])
        times = f"p50 {p50:6.0f} ms   p95 {p95:6.0f} ms   most {most:6.0f} ms"
        return f"{self.name:28} {times}   {len(self.took)} answers, {self.missed} tries while it was down"


def arithmetic() -> None:
    """A tenth of the time in which an answer must come, on a machine that has nothing else to do."""
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        sum(range(2000))


def clocks(server: Server, folder: Path) -> list[Clock]:
    """What is timed: the board as a whole page, its state, and the three addresses of the students."""
    probe = Seat("127.0.0.1", server.port, server.code, "Probe", folder / "probe")
    token, callers = probe._known.token, {}
    probe.leave()
    count = iter(range(1, 10**9))

    def ask(name: str, path: str, body=None, who: str = token):
        def go() -> None:
            caller = callers.setdefault(name, Caller("127.0.0.1", server.port, 10))
            answer = caller.ask(path, body() if body else None, who)
            assert answer.status == 200, answer

        return go

    def board(path: str):
        def go() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", int(server.board), timeout=20)
            try:
                connection.request("GET", f"/enter?token={server.token}")
                cookie = connection.getresponse().getheader("Set-Cookie").partition(";")[0]
                connection.close()
                connection.request("GET", path, headers={"Cookie": cookie})
                answer = connection.getresponse()
                text = answer.read()
                assert answer.status == 200
                assert path != "/board" or b"Class board" in text
            finally:
                connection.close()

        return go

    def one():
        return {"after": 0, "told": [[next(count), "value", {"run": "probe", "name": "x", "step": 1, "value": 1.0}]]}

    return [
        Clock("board, the whole page", 5.0, board("/board")),
        Clock("board, its state", 1.0, board("/class/state")),
        Clock("students: tell", 0.5, ask("tell", "/class/tell", one)),
        Clock("students: hear", 0.5, ask("hear", "/class/hear?after=0")),
        Clock("this machine: 50 ms of work", 1.0, arithmetic),
        Clock("students: join again", 2.0, ask("join", "/class/join", lambda: {"code": server.code, "token": token})),
    ]


def watch(server: Server, over: threading.Event) -> None:
    """A browser's end of the board, so that it is painted as it would be: no browser, only the websocket."""
    from bokeh.client import pull_session

    while not over.is_set():
        try:
            connection = http.client.HTTPConnection("127.0.0.1", int(server.board), timeout=20)
            connection.request("GET", f"/enter?token={server.token}")
            cookie = connection.getresponse().getheader("Set-Cookie").partition(";")[0]
            connection.close()
            session = pull_session(url=f"http://127.0.0.1:{server.board}/board", headers={"Cookie": cookie})
            while not over.is_set() and session.connected:
                session.force_roundtrip()
                time.sleep(0.2)
        except Exception:  # the server is down: look again soon, as the page does
            time.sleep(1.0)


def counted(folder: Path, told: dict[str, int], checks: int) -> tuple[int, int, int]:
    """What the class has: stored, lost, there twice. `told` says how many values each student told."""
    with sqlite3.connect(folder / "class.db") as store:
        stored, lost, twice = 0, 0, 0
        names = dict(store.execute("SELECT name, number FROM students WHERE name LIKE 'Student %'").fetchall())
        assert set(names) == set(told), "some who joined are not known"
        for name, number in names.items():
            rows = store.execute("SELECT kind, what FROM told WHERE student = ? ORDER BY seq", (number,)).fetchall()
            steps = [json.loads(what)["step"] for kind, what in rows if kind == "value"]
            stored += len(rows)
            lost += len(set(range(told[name])) - set(steps)) + checks - sum(kind == "check" for kind, _ in rows)
            twice += len(steps) - len(set(steps))
            assert steps == sorted(steps), "the order is not the one in which it was told"
    return stored, lost, twice


def in_mlflow(folder: Path) -> tuple[int, int]:
    """How many numbers MLflow has of the students, and how many different ones."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        joined = "FROM metrics m JOIN runs r ON r.run_uuid = m.run_uuid WHERE r.name LIKE 'Student %: net'"
        every = store.execute(f"SELECT COUNT(*) {joined}").fetchone()[0]
        once = store.execute(f"SELECT COUNT(*) FROM (SELECT DISTINCT r.name, m.step {joined})").fetchone()[0]
    return every, once


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--students", type=int, default=60)
    ask.add_argument("--seconds", type=float, default=300)
    ask.add_argument("--rate", type=float, default=20, help="values a second of each student")
    ask.add_argument("--kill", action="store_true", help="kill the server in the middle and start it again")
    ask.add_argument("--port", type=int, default=5210)
    chosen = ask.parse_args()
    with tempfile.TemporaryDirectory() as place:
        return measure(chosen, Path(place))


def measure(chosen: argparse.Namespace, place: Path) -> int:
    folder, spawn = place / "class", multiprocessing.get_context("spawn")
    server, results = Server(folder, chosen.port), spawn.Queue()
    half = (chosen.students + 1) // 2
    groups = [(0, half), (half, chosen.students - half)]
    workers = [
        spawn.Process(
            target=study,
            args=(place, chosen.port, server.code, first, count, chosen.seconds, chosen.rate, results),
        )
        for first, count in groups
        if count
    ]
    timed, over = clocks(server, place), threading.Event()
    for one in (*workers, threading.Thread(target=watch, args=(server, over), daemon=True)):
        one.start()
    time.sleep(5)  # until all have joined: what is timed is a class at work
    for one in timed:
        one.start()
    began = time.monotonic()
    if chosen.kill:
        time.sleep(chosen.seconds / 2)
        server.kill()
        time.sleep(AWAY)
        server.start()
        print(
            f"killed after {chosen.seconds / 2:.0f} s, there again {time.monotonic() - began - chosen.seconds / 2:.1f} s later"
        )
    ends = [results.get(timeout=chosen.seconds + 600) for _ in workers]
    over.set()
    for one in timed:
        one.over.set()
    for one in workers:
        one.join(60)
    told = {f"Student {n}": values for first, count, values, *_ in ends for n in range(first, first + count)}
    checks = ends[0][3]
    sent = sum(told.values()) + checks * len(told)
    began = time.monotonic()
    behind = wait_for_mlflow(server)
    carried = time.monotonic() - began
    server.stop()
    stored, lost, twice = counted(folder, told, checks)
    every, once = in_mlflow(folder)
    print(f"{chosen.students} students, {chosen.seconds:.0f} s, {chosen.rate:g} values a second each")
    print(
        f"sent {sent:,}  stored {stored:,}  lost {lost:,}  twice {twice:,}  still waiting {sum(end[4] for end in ends):,}"
    )
    print(f"all delivered {max(end[5] for end in ends):.1f} s after the last was told")
    print(f"in MLflow {every:,} values, {once:,} different ones, {behind:,} behind; it caught up in {carried:.0f} s")
    for one in timed:
        print(one)
    print(f"load of this machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    slow = [one.name for one in timed if one.ask is not arithmetic and one.p95() > LIMIT_MS]
    if slow:
        print(f"too slow (p95 over {LIMIT_MS} ms): {', '.join(slow)}")
    bad = lost or twice or stored != sent or slow or behind or every != once
    return 1 if bad else 0


def wait_for_mlflow(server: Server) -> int:
    """Wait until MLflow has everything; how many messages it does not have after two minutes."""
    end = time.monotonic() + 120
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", int(server.board), timeout=20)
        connection.request("GET", "/class/state", headers={"Authorization": f"Bearer {server.token}"})
        behind = json.loads(connection.getresponse().read())["behind"]
        connection.close()
        if not behind or time.monotonic() > end:
            return behind
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
