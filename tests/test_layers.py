import torch

from slotcli.layers import PositionEmbedding


@torch.no_grad()
def test_position_embedding_reaches_both_end_points() -> None:
    position = PositionEmbedding(4, (3, 5))
    position.project.weight.copy_(torch.eye(4))
    position.project.bias.zero_()
    code = position(torch.zeros(1, 4, 3, 5))[0]
    assert code[:, 0, 0].tolist() == [0, 0, 1, 1]
    assert code[:, -1, -1].tolist() == [1, 1, 0, 0]
    assert code[:, 0, -1].tolist() == [0, 1, 1, 0]
    assert code[:, 1, 2].tolist() == [0.5, 0.5, 0.5, 0.5]
    marked = position(torch.full((1, 4, 3, 5), 7.0))[0]
    torch.testing.assert_close(marked, code + 7)


def test_maps_of_other_sizes_have_positions_from_0_to_1() -> None:
    position = PositionEmbedding(2, (4, 4))
    other = PositionEmbedding(2, (3, 5))
    other.load_state_dict(position.state_dict())
    features = torch.zeros(1, 2, 3, 5)
    torch.testing.assert_close(position(features), other(features))
