"""Time compressed: faults of every kind, and no alarm that the rules exclude. `make bench` does 10,000."""

from __future__ import annotations

from bench.bench_probing import soak_for


def test_no_false_alarm_and_nothing_missed() -> None:
    """Each turn of the script is found at its threshold's sweep, and nothing else is told."""
    soak = soak_for(250, seed=3)
    assert soak.wrong == []
    assert soak.late == 0
    assert soak.found["beta.retired"] > 3
    assert soak.simulator.count > 4 * 250  # faults: without any, a sweep takes three
