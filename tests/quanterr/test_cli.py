"""The command line as a user meets it: results, one-line errors, interruption, resume."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from quanterr.cli import app

ROOT = Path(__file__).parent.parent.parent
TINY = "tests.quanterr.tiny"


def run(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments), capture_output=True, text=True, cwd=cwd, env=_environment(), timeout=300
    )


def here(*arguments: object) -> Result:
    """The same in this process, for commands that end before the work begins."""
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200", "NO_COLOR": "1"})


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "quanterr", *map(str, arguments)]


def _environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}


def certify_tiny(out: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return run(
        "certify", "--model", f"{TINY}:network(width=6)", "--inputs", f"{TINY}:batches", "--out", out,
        "--bits", "2,4", "--chunk", "9", "--layers", "0", "--layers", "2", *more,
    )  # fmt: skip


def test_certify_prints_draws_and_keeps(tmp_path: Path) -> None:
    out = tmp_path / "folder" / "tiny.sqlite"
    first = certify_tiny(out, "--figure", tmp_path / "pictures" / "tiny", "--jobs", 2)
    assert first.returncode == 0, first.stderr
    assert "every optimum proven by search" in first.stdout
    for suffix in ("pdf", "svg", "png"):
        assert (tmp_path / "pictures" / f"tiny.{suffix}").stat().st_size > 1000
    again = certify_tiny(out, "--certificates", tmp_path / "certificates")
    assert "(`quanterr verify" in again.stdout
    names = ["0.certificate.npz", "2.certificate.npz"]
    assert sorted(path.name for path in (tmp_path / "certificates").iterdir()) == names
    assert "of 96 results reused" in again.stdout
    shown = run("show", out, "--csv", tmp_path / "t.csv")
    assert _table(shown.stdout) == _table(again.stdout) == _table(first.stdout)
    reported = run("report", out, "-o", tmp_path / "t.html")
    assert "2 layers" in reported.stdout, reported.stderr
    assert "note:" not in reported.stdout, "the facts of the layers are kept with the run"
    frame = pd.read_csv(tmp_path / "t.csv")
    assert len(frame) == (3 + 1) * 2 * 2
    assert (frame.error_lower <= frame.error_upper).all()


def _table(output: str) -> list[str]:
    return [line for line in output.splitlines() if "│" in line or "comparisons" in line]


def test_verdicts_that_hang_on_the_scale_point_to_another_choice_of_it(tmp_path: Path) -> None:
    heavy = (
        "certify",
        "--model",
        f"{TINY}:heavy_network",
        "--inputs",
        f"{TINY}:slow_vectors",
        "--bits",
        "2",
        "--jobs",
        1,
    )
    by_largest = run(*heavy, "--out", tmp_path / "s", "--scale", "max")
    assert by_largest.returncode == 0, by_largest.stderr
    assert "at this scale only, open for others: --scale gram may decide them" in by_largest.stdout
    by_output = run(*heavy, "--out", tmp_path / "s", "--scale", "gram")
    assert by_output.returncode == 0, by_output.stderr
    assert "may decide them" not in by_output.stdout
    assert "scales by gram" in by_output.stdout


def test_damping_is_reported(tmp_path: Path) -> None:
    done = certify_tiny(tmp_path / "s", "--damping", "0.01")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("added to the Gram diagonal; errors are in the damped metric") == 2


def test_help_teaches() -> None:
    for arguments in ((), ("--help",), ("certify", "--help")):
        assert "certify" in here(*arguments).output
    assert "--preset efficientnet-lite0" in run("certify", "--help").stdout


def test_arrays_as_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    done = run(
        "certify", "--model", f"{TINY}:Unreached", "--inputs", tmp_path / "x.npy", "--layers", "used",
        "--bits", "4", "--out", tmp_path / "s",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


NETWORK = ("--model", f"{TINY}:network", "--inputs", f"{TINY}:batches")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*NETWORK, "--layers", "conv9"), "conv9"),
        (("--model", f"{TINY}:Unreached", "--inputs", f"{TINY}:vectors"), "spare"),
        (("--model", f"{TINY}:network(poison=True)", "--inputs", f"{TINY}:batches"), "nan"),
        (("--model", f"{TINY}:network", "--inputs", f"{TINY}:poisoned_batches"), "nan"),
        (("--model", f"{TINY}:network", "--inputs", f"{TINY}:vectors"), "64, 4"),
        (("--model", "no.such.package:factory", "--inputs", f"{TINY}:vectors"), "no.such.package"),
        (("--model", f"{TINY}:nothing", "--inputs", f"{TINY}:vectors"), "nothing"),
        (("--model", f"{TINY}:network", "--inputs", "no/such/folder"), "no/such/folder"),
        (("--model", f"{TINY}:network"), "--inputs"),
        (("--preset", "resnet-1000"), "efficientnet-lite0"),
        ((), "--preset"),
        ((*NETWORK, "--bits", "0"), "bits = 0"),
        ((*NETWORK, "--bits", "two"), "range such as 2-8"),
        ((*NETWORK, "--scale", "best"), "mse"),
        ((*NETWORK, "--device", "cuda:99"), "cuda"),
    ],
)
def test_one_clear_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    failed = here("certify", *arguments, "--out", tmp_path / "s")
    assert failed.exit_code == 1
    assert failed.stderr.startswith("error: "), failed.stderr
    assert message.lower() in failed.stderr.lower()
    assert len(failed.stderr.strip().splitlines()) == 1, failed.stderr


def test_unwritable_output_is_noticed_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = certify_tiny(tmp_path / "file" / "s")
    assert failed.returncode == 1
    assert "choose another --out" in failed.stderr
    assert "loading" not in failed.stdout
    assert "choose another folder" in certify_tiny(tmp_path / "s", "--certificates", tmp_path / "file").stderr
    foreign = tmp_path / "notes.txt"
    foreign.write_text("mine " * 999)
    assert "choose another --out" in certify_tiny(foreign).stderr
    assert foreign.read_text() == "mine " * 999


def test_show_names_what_is_missing(tmp_path: Path) -> None:
    assert "does not exist" in here("show", tmp_path / "absent").stderr
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_solved_is_lost(how: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / "s"
    arguments = (
        "certify", "--model", f"{TINY}:slow_network", "--inputs", f"{TINY}:slow_vectors", "--out", out, "--jobs", 2,
        "--bits", "2,3,5,8",
    )  # fmt: skip
    process = subprocess.Popen(
        _command(*arguments), cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while _stored(out) < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: the workers get it too
    else:
        process.send_signal(how)
    began = time.monotonic()
    _, errors = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert re.search(r"interrupted; what was solved is kept in \S+: run the same command", errors)
        assert "Traceback" not in errors
    kept = _stored(out)
    assert kept >= 3
    while _members(process.pid) and time.monotonic() - began < 20:
        time.sleep(0.1)
    assert not _members(process.pid), "workers outlive their parent"
    assert "no finished run" in run("show", out).stderr
    finished = run(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert re.search(r"[\d,]+ of 48,000 results reused", finished.stdout)


def _stored(path: Path) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            found = connection.execute("SELECT count(*) FROM results").fetchone()[0]
        connection.close()
        return int(found)
    except sqlite3.Error:
        return 0


def _members(group: int) -> list[str]:
    """Processes of a process group that still run."""
    listing = subprocess.run(["ps", "-eo", "pgid,stat,args"], capture_output=True, text=True, check=True).stdout
    lines = [line.split(None, 2) for line in listing.splitlines()[1:]]
    return [args for pgid, stat, args in lines if pgid == str(group) and not stat.startswith("Z")]
