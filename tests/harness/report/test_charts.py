from __future__ import annotations

from harness.checks.performance import THROUGHPUT, TTFT, Compared, not_slower
from harness.report.charts import Axis, ratio_rows


def test_the_axis_is_even_in_ratios() -> None:
    axis = Axis(2.0)
    assert [axis.at(ratio) for ratio in (0.5, 1.0, 2.0, 9.0)] == [0.0, 50.0, 100.0, 100.0]


def test_one_row_a_ratio_with_its_words() -> None:
    steady, slower = [10.0, 11.0] * 5, [20.0, 21.0] * 5
    compared = Compared("<toggle>", ("off", "on"), "sglang#26555", loss=0.2)
    verdicts = [not_slower(metric, compared, (steady, slower)) for metric in (THROUGHPUT, TTFT)]
    verdicts.append(not_slower(TTFT, compared, ([], [])))
    rows = ratio_rows([vars(verdict) for verdict in verdicts])
    assert [row.status for row in rows] == ["pass", "fail"]
    assert "&lt;toggle&gt;" in rows[0].svg
    assert "more is better" in rows[0].label
    assert rows[0].reading.startswith("1.9")
