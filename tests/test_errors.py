import pytest

from slotcli.errors import SlotcliError, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \u20ac.mp4", "plain \u20ac.mp4"),
        ("a\nb\x1b[31m", r"a\nb\x1b[31m"),
        ("\udcff\ud800", r"\udcff\ud800"),  # undecodable bytes of a file name, as Python reads them
        ("\u202e\u2028", r"\u202e\u2028"),  # text that runs backwards, a line that ends
    ],
)
def test_what_a_terminal_cannot_show_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).encode("utf-8").decode("utf-8").isprintable()


def test_every_error_has_an_exit_code_of_its_own() -> None:
    codes = [error.exit_code for error in SlotcliError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert not {0, 1, 130, 143} & set(codes)
