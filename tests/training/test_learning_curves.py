from pathlib import Path

from slotcli.evaluation.figures import FIGURES, figure
from slotcli.training.learning_curves import learning_curves, numeric_figures
from slotcli.training.log import CURVES, RunLog


def test_known_figures_come_in_order_and_unknown_ones_behind():
    rows = [
        {"step": 1, "new_score": 1.0, "learning_rate": 0.1, "loss": 2.0, "remark": "odd"},
        {"step": 2, "degeneration": None},
    ]
    assert numeric_figures(rows) == ["degeneration", "loss", "learning_rate", "new_score"]
    assert figure("new_score").heading == "New score"
    assert figure("loss") is FIGURES["loss"]


def test_a_panel_for_every_figure_that_has_a_value():
    rows = [
        {"step": 1, "loss": 1.0, "degeneration": None, "fg_ari": 10**400, "ari": float("nan")},
        {"step": 2, "loss": "lost", "gradient_norm": 3.0},
    ]
    assert [panel.title for panel in learning_curves(rows)] == ["Loss", "Gradient norm"]


def test_a_log_draws_itself(tmp_path: Path):
    log = RunLog(tmp_path, ["step", "loss"], 0)
    log.add({"step": 1, "loss": 1.0})
    log.draw()
    before = (tmp_path / CURVES).read_bytes()
    log.add({"step": 2, "loss": 3.0})
    log.draw()
    assert (tmp_path / CURVES).read_bytes() != before
