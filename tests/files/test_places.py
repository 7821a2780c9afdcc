import pytest

from slotcli.errors import CannotCreateError
from slotcli.files.places import put_in_place, work_folder, work_path


def _names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_longest_name_can_be_worked_beside(tmp_path):
    place = tmp_path / ("n" * 255)
    with work_folder(place) as work:
        (work / "inside").touch()
        put_in_place(work, place)
    assert _names(tmp_path) == [place.name, f"{place.name}/inside"]


def _fail(place, error, made):
    with work_folder(place) as work:
        (work / "inside").mkdir()
        made.touch()
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_nothing_but_what_others_made(tmp_path, error):
    place = tmp_path / "a/b/place"
    with pytest.raises(error):
        _fail(place, error, work_path(place) / "ours")
    assert _names(tmp_path) == []
    with pytest.raises(error):
        _fail(place, error, tmp_path / "a/theirs")
    assert _names(tmp_path) == ["a", "a/theirs"]


def test_what_an_ended_process_of_this_number_left_is_not_mixed_in(tmp_path):
    place = tmp_path / "place"
    work_path(place).mkdir()
    (work_path(place) / "stale").touch()
    with work_folder(place) as work:
        assert list(work.iterdir()) == []


def test_replacing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    place = tmp_path / "place"
    place.mkdir()
    (place / "old").touch()
    with work_folder(place) as work:
        (work / "new").touch()
        put_in_place(work, place)
    assert _names(tmp_path) == ["place", "place/new"]

    with pytest.raises(CannotCreateError):
        put_in_place(work_path(place), place)  # what is not there cannot take the place
    assert _names(tmp_path) == ["place", "place/new"]
