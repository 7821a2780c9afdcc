from slotcli.tracks.palette import davis_palette


def test_known_colours_of_pascal_voc():
    palette = davis_palette()
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        7: (128, 128, 128),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    assert {index: tuple(palette[index].tolist()) for index in known} == known
    assert len({tuple(colour) for colour in palette.tolist()}) == 256
