import numpy as np
import torch

from slotcli.tracks.background import BackgroundVote


def voted(winners: np.ndarray, num_slots: int) -> tuple[int, ...]:
    """What is found where each position has one slot alone; a frame is added at a time."""
    vote = BackgroundVote(num_slots)
    for frame in torch.nn.functional.one_hot(torch.from_numpy(winners).long(), num_slots):
        vote.add(frame.permute(2, 0, 1)[None].float())
    return vote.background()


def test_the_slot_with_most_of_the_border():
    attention = torch.full((3, 4, 6, 6), 0.1)
    attention[:, 2] = 0.3  # everywhere
    attention[:, 1, 1:-1, 1:-1] = 0.5  # the whole middle, more than half of all positions
    attention[:, 0, 0, :3] = 0.6  # a bit of the border
    votes = BackgroundVote(4)
    for frame in attention:
        votes.add(frame[None])
    assert votes.background() == (2,)


def test_none_where_no_slot_is_sure():
    assert BackgroundVote(4).background() == ()
    stripes = np.arange(12)[None, None, :].repeat(12, 1).repeat(3, 0)
    assert voted(stripes, 12) == ()


def quarters(frames: int = 4) -> np.ndarray:
    """Four still slots share the frame and its border, and a fifth is in the middle."""
    winners = np.zeros((frames, 12, 12), np.int64)
    winners[:, :6, 6:], winners[:, 6:, :6], winners[:, 6:, 6:] = 1, 2, 3
    winners[:, 4:8, 4:8] = 4
    return winners


def test_a_background_of_several_slots():
    assert voted(quarters(), 5) == (0, 1, 2, 3)


def test_what_moves_is_no_part_of_it():
    still = np.zeros((4, 12, 12), np.int64)
    still[:, :6, 8:] = 1
    assert voted(still, 2) == (0, 1)
    moving = np.zeros((4, 12, 12), np.int64)
    for index in range(4):
        moving[index, 2 * index : 2 * index + 6, 8:] = 1
    assert voted(moving, 2) == (0,)


def test_what_is_at_one_side_alone_or_small_is_no_part_of_it():
    winners = np.zeros((3, 24, 24), np.int64)
    winners[:, 4:20, :6] = 1  # large and still, at one side
    winners[:, 0, 12:] = winners[:, :12, 23] = 2  # still, at two sides, but thin
    assert voted(winners, 3) == (0,)
