"""Runs the fences of deploy/fencing/ as their users would: on SQLite and on a real Redis."""

import pathlib
import socket
import sqlite3
import subprocess
import tempfile
import time

FENCING = pathlib.Path(__file__).resolve().parents[2] / "deploy/fencing"
# The tokens of writes in the order in which they arrive, and whether each is taken: a holder may write again,
# and a late one, paused while two others came, may not.
WRITES = [(5, True), (5, True), (9, True), (5, False), (2**53 - 1, True), (9, False), (2**53 - 2, False)]


def sqlite():
    create, update = (FENCING / "fence.sql").read_text().split("UPDATE")
    database = sqlite3.connect(":memory:")
    database.executescript(create)
    database.execute("INSERT INTO fenced_documents (id, body) VALUES ('d', '')")
    update = "UPDATE" + update.rstrip().rstrip(";")
    for number, (token, taken) in enumerate(WRITES):
        row = {"id": "d", "body": str(number), "token": token}
        assert (database.execute(update, row).rowcount == 1) == taken, (number, token)
    missing = {"id": "none", "body": "", "token": 2**53 - 1}
    assert database.execute(update, missing).rowcount == 0
    body, fence = database.execute("SELECT body, fence FROM fenced_documents").fetchone()
    assert (body, fence) == ("4", 2**53 - 1), (body, fence)
    print("ok: fence.sql on SQLite")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def redis():
    with tempfile.TemporaryDirectory() as folder:
        port = str(free_port())
        command = ["redis-server", "--port", port, "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            cli = ["redis-cli", "-p", port]
            end = time.monotonic() + 30
            while subprocess.run([*cli, "PING"], capture_output=True, text=True).stdout != "PONG\n":
                assert time.monotonic() < end, "redis-server does not answer"
                time.sleep(0.02)
            for number, (token, taken) in enumerate(WRITES):
                script = [*cli, "--eval", FENCING / "fence.lua", "{d}", ",", str(token), str(number)]
                done = subprocess.run(script, capture_output=True, text=True, check=True)
                assert done.stdout.strip() == str(int(taken)), (number, token, done.stdout)
            value = subprocess.run([*cli, "GET", "{d}"], capture_output=True, text=True).stdout
            assert value == "4\n", value
        finally:
            server.terminate()
            server.wait()
    print("ok: fence.lua on Redis")


sqlite()
redis()
