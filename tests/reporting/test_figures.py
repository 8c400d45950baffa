"""Figures for print: what is drawn, and where."""

from __future__ import annotations

import pytest

from halign.reporting.figures import Axes, Curve, Mark, figure, save


def plots():
    marks = [Mark(-0.02, 0.5, (-0.1, 0.06), (0.4, 0.6)), Mark(4.0, 0.75, (3.5, 4.5), (0.7, 0.8), "beta 0.1")]
    curves = [Curve("dpo", marks, style=0), Curve("optimum", [Mark(1.0, 0.9, None, (0.8, 1.0))], band=True)]
    return [Axes(curves, "Reward", "KL (nats)", "reward", root=True, level=(0.5, "start"))]


def test_points_intervals_and_words_are_where_they_should_be():
    made = figure(plots())
    ax = made.axes[0]
    by_name = {line.get_label(): line for line in ax.get_lines()}
    assert by_name["dpo"].get_xdata() == pytest.approx(
        [0.0, 4.0]
    )  # a KL below zero stands at zero on this scale
    assert by_name["dpo"].get_ydata() == pytest.approx([0.5, 0.75])
    drawn = [(tuple(line.get_xdata()), tuple(line.get_ydata())) for line in ax.get_lines()]
    assert ((4.0, 4.0), (0.7, 0.8)) in drawn
    assert ((3.5, 4.5), (0.75, 0.75)) in drawn
    assert ((0.0, 0.06), (0.5, 0.5)) in drawn
    assert [t.get_text() for t in ax.texts] == ["beta 0.1"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["dpo", "optimum", "start"]
    assert by_name["start"].get_ydata() == pytest.approx([0.5, 0.5])
    quarter, half = ax.transData.transform([(1.0, 0.5), (4.0, 0.5)])[:, 0]
    left = ax.transData.transform((0.0, 0.5))[0]
    assert (half - left) / (quarter - left) == pytest.approx(2.0)  # square roots


def test_what_lies_beyond_the_reach_is_cut_off():
    far = [*plots()[0].curves[0].marks, Mark(9.0, 7.0)]
    ax = figure([Axes([Curve("dpo", far, style=0)], "Reward", "KL", "reward", True, reach=4.0)]).axes[0]
    assert ax.get_xlim() == pytest.approx((0.0, 4.32))
    low, high = ax.get_ylim()
    assert low < 0.4 < 0.8 < high < 1.0


def test_files_are_the_same_every_time_and_the_svg_stands_in_a_page(tmp_path):
    first = save(figure(plots()), tmp_path / "a", "frontier")
    second = save(figure(plots()), tmp_path / "b", "frontier")
    assert first == second
    assert first.startswith("<svg")
    assert ">KL (nats)<" in first
    assert 'href="http' not in first  # nothing is fetched
    assert (tmp_path / "a" / "frontier.png").read_bytes()[1:4] == b"PNG"
    assert (tmp_path / "a" / "frontier.svg").read_text().startswith("<?xml")
