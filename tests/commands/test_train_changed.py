"""A run that resumes with other settings says which, or is refused."""

import pytest
from test_train import SMALL, sets, write_definition

pytestmark = pytest.mark.slow


@pytest.fixture
def pretrain(cli, tmp_path, tiny_codec):
    definition = write_definition(tmp_path, tiny_codec)

    def run(*overrides, given=()):
        chosen = ("--config", definition, "--out", "run", "--threads", 1, *given)
        return cli("pretrain", *chosen, *sets(*SMALL, *overrides))

    assert run("train.steps=1", "train.evaluate_every=1")[0] == 0
    return run


def test_changed_settings_of_a_resumed_run_are_named_with_both_values(pretrain, tiny_codec):
    changed = ("train.batch_size=1", "train.learning_rate=0.002")
    code, _, err = pretrain(*changed)
    assert code == 0, err
    assert "Resuming with changed settings:" in err
    assert "train.batch_size was 2, is now 1" in err
    assert "train.learning_rate was 0.001, is now 0.002" in err
    assert "train.steps was 1, is now 2" in err
    assert "train.seed" not in err
    code, _, err = pretrain(
        "train.batch_size=1",
        "train.learning_rate=0.002",
        "train.steps=3",
        given=("--init", tiny_codec),
    )
    assert code == 0, err
    assert "train.steps was 2, is now 3." in err
    assert "batch_size" not in err
    assert "is ignored: run resumes from its own last state" in err


@pytest.mark.parametrize("change", ["codec.latent_channels=3", "size=[64, 64]"])
def test_another_model_is_refused_before_anything_is_written(pretrain, tmp_path, change):
    before = (tmp_path / "run/model.toml").read_bytes()
    code, _, err = pretrain(change)
    assert code == 2
    assert "run: holds a run of another model:" in err
    assert f"{change.partition('=')[0]} was " in err
    assert (tmp_path / "run/model.toml").read_bytes() == before
