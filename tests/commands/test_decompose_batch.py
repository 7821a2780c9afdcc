"""Folders of clips: what would be done, what was done, and by whom."""

import csv
import json
import os
import threading
import time

import pytest
from made_clips import assert_refused, make_clip, make_images, tree

from slotcli.decomposition.clip_run import ClipRun
from slotcli.errors import DataError

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1", "--chunk", "4"]


@pytest.fixture
def decompose(cli, tiny_model):
    def run(*arguments):
        return cli("decompose", *arguments, "--out", "out", "--model", tiny_model, *ON)

    return run


def test_a_dry_run_says_what_would_be_done_and_does_nothing(cli, tiny_model, tmp_path):
    make_clip(tmp_path / "in/a.mp4", 30)
    make_clip(tmp_path / "in/b/c.mp4", 12)
    (tmp_path / "in/broken.mp4").write_text("no video")
    make_images(tmp_path / "in/pictures", 5)
    before = tree(tmp_path)
    given = ["decompose", "in", "-r", "--dry-run", "--stride", "2", "--model", tiny_model, *ON]
    code, out, _ = cli("--json", *given)
    assert code == 0
    rows = {row["source"]: row for row in map(json.loads, out.splitlines())}
    assert {name: row["frames"] for name, row in rows.items()} == {
        "in/a.mp4": 15,
        "in/b/c.mp4": 6,
        "in/broken.mp4": None,
        "in/pictures": 3,
    }
    assert "not a video" in rows["in/broken.mp4"]["remark"]
    for name in ("in/a.mp4", "in/b/c.mp4"):
        assert rows[name]["model_seconds"] > 0
    code, out, _ = cli(*given)
    assert code == 0
    assert "4 clips: about" in out
    assert tree(tmp_path) == before


def test_the_estimate_of_disk_is_of_the_right_size(cli, tiny_model, tmp_path):
    make_clip(tmp_path / "a.mp4", 40, (240, 320))
    given = ["decompose", "a.mp4", "--out", "out", "--model", tiny_model, *ON]
    row = json.loads(cli("--json", *given, "--dry-run")[1])
    assert cli(*given)[0] == 0
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written / 2 < row["bytes"] < 8 * written


def test_a_disk_too_small_is_refused_before_anything_is_written(decompose, tmp_path, monkeypatch):
    make_clip(tmp_path / "a.mp4", 40)
    monkeypatch.setattr("slotcli.decomposition.estimate.free_disk", lambda folder: 20_000)
    code, _, err = decompose("a.mp4")
    assert code == 74
    assert_refused(err)
    assert "0 MiB are free" in err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def finishing_waits(monkeypatch):
    """The first clip's last files wait until the model has encoded frames of the second."""
    encoded, waited = threading.Event(), []
    finish, take = ClipRun.finish, ClipRun.take

    def slow_finish(run):
        if run.clip.source.name == "a.mp4":
            waited.append(encoded.wait(20))
        return finish(run)

    def told_take(run, *arguments):
        take(run, *arguments)
        if run.clip.source.name == "b.mp4":
            encoded.set()

    monkeypatch.setattr(ClipRun, "finish", slow_finish)
    monkeypatch.setattr(ClipRun, "take", told_take)
    return waited


def test_the_last_files_of_a_clip_are_written_while_the_next_is_encoded(
    decompose, tmp_path, finishing_waits
):
    for name in "abc":
        make_clip(tmp_path / f"in/{name}.mp4", 6)
    assert decompose("in")[0] == 0
    assert finishing_waits == [True]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert [row["source"] for row in summary["clips"]] == ["in/a.mp4", "in/b.mp4", "in/c.mp4"]
    assert summary["counts"] == {"ok": 3}


def test_a_clip_whose_last_files_are_being_written_survives_ctrl_c(
    decompose, tmp_path, finishing_waits, monkeypatch
):
    for name in "ab":
        make_clip(tmp_path / f"in/{name}.mp4", 20)
    took = ClipRun.take

    def interrupted(run, *arguments):
        took(run, *arguments)
        if run.clip.source.name == "b.mp4":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ClipRun, "take", interrupted)
        assert decompose("in")[0] == 130
    assert finishing_waits == [True]
    assert (tmp_path / "out/a.mp4/result.json").is_file()
    assert not (tmp_path / "out/b.mp4").exists()
    left = {path.name.rpartition(".")[2] for path in (tmp_path / "out").glob(".*")}
    assert left == {"journal"}
    code, _, err = decompose("in")
    assert code == 0
    assert "out/a.mp4: done already." in err
    assert json.loads((tmp_path / "out/b.mp4/result.json").read_text())["resumed_frames"] == 16


def test_a_clip_whose_last_files_fail_is_listed_and_the_next_one_is_whole(
    decompose, tmp_path, monkeypatch
):
    for name in "ab":
        make_clip(tmp_path / f"in/{name}.mp4", 6)
    finish = ClipRun.finish

    def failing(run):
        if run.clip.source.name == "a.mp4":
            raise DataError("Cannot be finished.", "Try again.")
        return finish(run)

    with monkeypatch.context() as patch:
        patch.setattr(ClipRun, "finish", failing)
        assert decompose("in")[0] == 3
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert [row["status"] for row in summary["clips"]] == ["failed", "ok"]
    assert not [path for path in (tmp_path / "out").glob(".*")]
    assert decompose("in")[0] == 0


def test_the_summary_lists_every_clip_and_the_index_links_what_there_is(decompose, tmp_path):
    names = ["a.mp4", "<b>.mp4", "sub/c d.mp4", os.fsdecode(b"caf\xe9.mp4")]
    for name in names:
        make_clip(tmp_path / "in" / name, 6)
    (tmp_path / "in/broken.mp4").write_text("no video")
    assert decompose("in", "-r")[0] == 3
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["counts"] == {"failed": 1, "ok": 4}
    by_name = {row["source"].rsplit("/", 1)[-1]: row for row in summary["clips"]}
    assert by_name["a.mp4"] | {"seconds": 0} == {
        "source": "in/a.mp4",
        "result": "out/a.mp4",
        "status": "ok",
        "frames": 6,
        "seconds": 0,
        "coverage": 1.0,
        "exit_code": None,
        "remark": "",
    }
    assert by_name["broken.mp4"]["exit_code"] == 65
    assert by_name["broken.mp4"]["frames"] is None
    with (tmp_path / "out/summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == [row["status"] for row in summary["clips"]]

    page = (tmp_path / "out/index.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;.mp4" in page
    for link in ("a.mp4", "%3Cb%3E.mp4", "sub/c%20d.mp4", "caf%E9.mp4"):
        assert f'href="{link}/report.html"' in page, link
        assert f'src="{link}/strip.png"' in page, link
    assert "broken.mp4/report.html" not in page
    before = tree(tmp_path / "out")
    assert decompose("in", "-r")[0] == 3
    assert tree(tmp_path / "out") == before


def test_a_clip_that_lost_too_much_is_not_forgotten_on_a_rerun(decompose, tmp_path):
    make_clip(tmp_path / "a.mp4", 6)
    whole = make_clip(tmp_path / "b.mp4", 60, movflags="+faststart").read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    for _ in range(2):
        code, _, err = decompose("a.mp4", "b.mp4")
        assert code == 3
        assert "0 of 2 clips failed, 1 lost more than allowed." in err


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "-1/2", "1/0", "1/2/3", ""])
def test_shards_that_do_not_exist(decompose, tmp_path, shard):
    make_clip(tmp_path / "a.mp4", 2)
    code, _, err = decompose("a.mp4", "--shard", shard)
    assert code == 2
    assert_refused(err)


def test_an_end_before_the_start_is_refused(decompose, tmp_path):
    make_clip(tmp_path / "a.mp4", 2)
    assert decompose("a.mp4", "--start", "3", "--end", "2")[0] == 2
    code, _, err = decompose("a.mp4", "--start", "100")
    assert code == 66
    assert_refused(err)
    assert not (tmp_path / "out").exists()


def test_a_clip_that_another_run_is_at(decompose, tmp_path):
    from slotcli.files.places import locked

    make_clip(tmp_path / "a.mp4", 2)
    make_clip(tmp_path / "b.mp4", 2)
    held, done = threading.Event(), threading.Event()

    def hold():
        (tmp_path / "out").mkdir()
        with locked(tmp_path / "out/a.mp4"):
            held.set()
            done.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)
    code, _, err = decompose("a.mp4")
    assert code == 75
    assert_refused(err)
    code, out, err = decompose("a.mp4", "b.mp4")
    assert code == 0
    assert out.startswith("out/b.mp4: 2 frames")
    assert "1 clips were left to other runs" in err
    done.set()
    other.join()
    assert decompose("a.mp4")[0] == 0
    assert not list((tmp_path / "out").glob(".slotcli*"))


def test_clips_on_the_model_together_give_what_they_give_alone(decompose, tmp_path):
    from slotcli.tracks.slot_file import read_slot_file

    counts = {"a.mp4": 9, "b.mp4": 30, "c.mp4": 21, "d.mp4": 2}
    for name, count in counts.items():
        make_clip(tmp_path / name, count)
    (tmp_path / "broken.mp4").write_text("no video")
    given = [*counts, "broken.mp4"]
    assert decompose(*given, "--together", "3")[0] == 3
    together = {name: read_slot_file(_slots(tmp_path, name)) for name in counts}
    assert decompose(*given, "--overwrite")[0] == 3
    for name, count in counts.items():
        alone = read_slot_file(_slots(tmp_path, name))
        assert len(alone.pts) == count
        assert abs(alone.slots - together[name].slots).max() < 1e-5


def _slots(folder, name):
    return folder / "out" / name / "clip.slots.safetensors"


def test_ray_gives_the_results_of_this_process_though_a_worker_is_killed(
    run_cli, tiny_model, tmp_path
):
    ray = pytest.importorskip("ray")
    assert ray
    for number in range(4):
        make_clip(tmp_path / f"in/{number}.mp4", 60 + number)  # long enough to be caught at
    given = ["decompose", "in", "--model", tiny_model, *ON]
    assert run_cli(*given, "--out", "out").returncode == 0
    over, killed = threading.Event(), []
    killer = threading.Thread(target=_kill_a_worker, args=(over, killed))
    killer.start()
    ended = run_cli(*given, "--out", "ray", "--engine", "ray")
    over.set()
    killer.join()
    assert ended.returncode == 0, ended.stderr
    assert killed, "no worker was found"
    assert len(ended.stdout.splitlines()) == 4
    for path in (tmp_path / "out").rglob("*"):
        if path.name in ("clip.slots.safetensors", "overlay.mp4", "tracks.csv") or (
            path.parent.name == "masks"
        ):
            again = tmp_path / "ray" / path.relative_to(tmp_path / "out")
            assert path.read_bytes() == again.read_bytes(), path
    assert not list((tmp_path / "ray").glob(".slotcli*"))


def _kill_a_worker(over, killed):
    """SIGKILL to the first worker of Ray that is at a clip, however long Ray takes to begin."""
    while not over.is_set():
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    title = file.read()
            except OSError:
                continue
            if title.startswith(b"ray::MapWorker") and b".submit" in title:
                os.kill(int(entry), 9)
                killed.append(int(entry))
                return
        time.sleep(0.01)
