"""Runs the README's sessions against the real binary and compares what they print.

A ```console block holds commands ("$ ...", going on in "> ..." lines) and their output; a
```python block is followed by a ```text block with its output. In expected output, "…" stands for
anything within a line. The Python block runs on stubs generated here from proto/, as a backend team
would generate them.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("TRELLISD", ROOT / "target/debug/trellisd"))
READY = "http://127.0.0.1:7118/readyz"
PATIENCE_SECONDS = 60


def blocks(text):
    """The fenced blocks of a Markdown text: (language, content)."""
    return re.findall(r"^```(\w+)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def generate_stubs(folder):
    protos = sorted(str(path) for path in (ROOT / "proto/trellis").rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}"]
    command += [f"--python_out={folder}", f"--grpc_python_out={folder}", *protos]
    subprocess.run(command, check=True)


def matches(expected, printed):
    pattern = re.escape(expected.strip()).replace("…", ".*")
    return re.fullmatch(pattern, printed.strip()) is not None


def check(what, expected, printed):
    if not matches(expected, printed):
        sys.exit(f"README: {what}\nshould print:\n{expected}\nprints:\n{printed}")
    print(f"ok: {what}")


# What the sessions export, for the daemons that they start.
EXPORTED = {}
DAEMONS = []


def start_daemon(command, folder):
    """Starts the built binary with variables and arguments of a `cargo run` in the README, and waits for it."""
    before, arguments = command.split(" -- ", 1)
    arguments = arguments.rstrip("& ").split()
    variables = os.environ | EXPORTED | dict(re.findall(r"(\w+)=(\S+)", before))
    daemon = subprocess.Popen(
        [BINARY, *arguments], cwd=folder, env=variables, stderr=subprocess.DEVNULL
    )
    DAEMONS.append(daemon)
    http = arguments[arguments.index("--http-listen") + 1]
    wait_until_ready(daemon, f"http://{http}/readyz")


def run_console(block, folder):
    for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = session.splitlines()
        length = 1
        while length < len(lines) and lines[length].startswith("> "):
            lines[length] = lines[length][2:]
            length += 1
        command = "\n".join(lines[:length])
        if "--bin trellisd" in command:
            if "--listen" in command:
                start_daemon(command, folder)
            continue  # That without an address runs already, started by this program.
        if command.startswith("export "):
            for name, value in re.findall(r"(\w+)=(\S+)", command):
                EXPORTED[name] = value
            continue
        done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
        check(command, "\n".join(lines[length:]), done.stdout + done.stderr)


def run_python(block, expected, stubs):
    environment = os.environ | {"PYTHONPATH": str(stubs)}
    command = [sys.executable, "-c", block]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    check("the Python session", expected, done.stdout + done.stderr)


def wait_until_ready(daemon, ready=READY):
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and daemon.poll() is None:
        try:
            with urllib.request.urlopen(ready) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    sys.exit(f"the daemon does not become ready at {ready}; is the port free?")


def run_sessions(stubs):
    found = blocks((ROOT / "README.md").read_text())
    ran = 0
    for (language, content), (_, following) in zip(found, found[1:] + [("", "")]):
        if language == "console":
            run_console(content, stubs)
        elif language == "python":
            run_python(content, following, stubs)
        elif language == "rust":
            examples = (ROOT / "crates/client/examples").glob("*.rs")
            if not any(content.strip() in example.read_text() for example in examples):
                sys.exit(f"README: no example of the client is:\n{content}")
        else:
            continue
        ran += 1
    if ran < 4:
        sys.exit(f"README: only {ran} sessions found")


def main():
    with tempfile.TemporaryDirectory() as folder:
        generate_stubs(folder)
        daemon = subprocess.Popen([BINARY], cwd=folder, stderr=subprocess.DEVNULL)
        try:
            wait_until_ready(daemon)
            run_sessions(folder)
        finally:
            for each in [daemon, *DAEMONS]:
                each.terminate()
            for each in DAEMONS:
                each.wait(PATIENCE_SECONDS)
        if daemon.wait(PATIENCE_SECONDS) != 0:
            sys.exit("the daemon did not end cleanly")


main()
