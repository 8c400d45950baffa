"""``halign rate`` on judged folders: what it prints beside the raw numbers, against the same computed from plain arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from halign.cli.main import app
from halign.evaluate.correction import corrected_rate
from halign.evaluate.length_control import anchors_of, length_controlled
from halign.evaluate.penalised import instruction_difficulty
from halign.evaluate.significance import benjamini_hochberg, holm
from halign.evaluate.style import covariates
from halign.judges import Verdict
from halign.judges.records import GradeRecord, JudgedItem, PairRecord, append

N = 60
MODELS = ("long", "good", "plain", "wordy", "terse")
"""Each is compared with "base" on N questions; the last two are the base asked to be verbose or concise."""


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output if code == 0 else result.output + str(result.exception)


def numbers(tmp_path, *words):
    out = tmp_path / "out.json"
    said = run("rate", *words, "--resamples", 20, "--output", out)
    return said, json.loads(out.read_text())


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(folder, preferences [models, N], lengths [models, N], the base's lengths [N]); the judge likes good and long replies."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("compared")
    base = rng.integers(200, 800, size=N)
    longer = np.array([400, 0, 0, 500, -150])
    lengths = np.maximum(1, base + longer[:, None] + rng.integers(-100, 100, size=(5, N)))
    better = np.array([0.0, 1.0, -0.5, 0.0, 0.0])[:, None] + (lengths - base) / 250 + rng.normal(size=N)
    won = rng.random((5, N)) < 1 / (1 + np.exp(-better))
    words = dict(zip(MODELS, lengths, strict=True))
    items, records = [], []
    for i in range(N):
        replies = {m: "ab " * (int(n[i]) // 3) + "c" * (int(n[i]) % 3) for m, n in words.items()}
        replies["base"] = "ab " * (int(base[i]) // 3) + "c" * (int(base[i]) % 3)
        items.append(JudgedItem(f"q{i}", f"c{i // 2}", [{"role": "user", "content": f"ask {i}"}], replies))
        for m, row in zip(MODELS, won, strict=True):
            a, b, up = ("base", m, not row[i]) if i % 3 else (m, "base", row[i])
            v = Verdict.A if up else Verdict.B
            records.append(PairRecord(f"q{i}", f"c{i // 2}", "quality", "j", a, b, v, v))
    append(folder / "items.jsonl", items)
    append(folder / "verdicts.jsonl", records)
    return folder, won.astype(float), lengths.astype(float), base.astype(float)


def test_style_stands_beside_the_raw_ratings(compared, tmp_path):
    """The model that wins by length alone comes out lower; ratings and coefficient solve the score equations of the logistic
    model, here by Newton's method on the plain arrays."""
    folder, won, lengths, base = compared
    said, found = numbers(tmp_path, folder, "--style")
    held = found["quality"]["style_controlled"]
    assert set(held["coefficients"]) == {"length"}
    assert "style held   95 % sandwich" in said
    assert "length +" in said
    tables = (found["quality"]["ratings"], held["ratings"])
    raw, controlled = ({m: r[m]["value"] - r["base"]["value"] for m in MODELS} for r in tables)
    assert controlled["long"] < raw["long"] - 10
    words = np.ceil(np.vstack([lengths, base]) / 3)  # of "ab ab ... c"
    z = covariates(words[:5].reshape(-1, 1), np.tile(words[5], 5)[:, None])[:, 0]
    x = np.concatenate([np.repeat(np.eye(5), N, 0), z[:, None]], 1)  # the base's rating is 0
    y, w = won.ravel(), np.zeros(6)
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ w))
        w += np.linalg.solve((x.T * (p * (1 - p))) @ x, x.T @ (y - p))
    assert held["coefficients"]["length"]["value"] == pytest.approx(w[5], abs=1e-6)
    assert controlled["good"] == pytest.approx(w[1] * 400 / np.log(10), abs=1e-4)


def test_length_control_is_named_for_the_model_it_is(compared, tmp_path):
    folder, won, lengths, base = compared
    clusters = [f"c{i // 2}" for i in range(N)]
    plain = length_controlled(won[0], lengths[0], base, clusters, resamples=20)
    said, found = numbers(tmp_path, folder, "--length", "base")
    got = found["quality"]["length_controlled"]
    assert (got["baseline"], got["difficulty"], set(got["models"])) == ("base", None, set(MODELS))
    assert got["models"]["long"] == json.loads(json.dumps(plain.to_dict()))
    assert "length control against base: plain (AlpacaEval's length_controlled_minimal)" in said
    shown = f"{100 * plain.win_rate.value:.1f} % [{100 * plain.win_rate.low:.1f}"
    assert shown in said
    assert f"{100 * plain.controlled.value:.1f} % [{100 * plain.controlled.low:.1f}" in said


def test_difficulty_and_anchors_make_the_other_models(compared, tmp_path):
    folder, won, lengths, base = compared
    clusters, g = [f"c{i // 2}" for i in range(N)], np.sin(np.arange(N))
    file = tmp_path / "g.jsonl"
    file.write_text("".join(json.dumps({"item": f"q{i}", "difficulty": v}) + "\n" for i, v in enumerate(g)))
    said, found = numbers(tmp_path, folder, "--length", "base", "--difficulty", file)
    expected = length_controlled(won[1], lengths[1], base, clusters, difficulty=g, resamples=20)
    assert found["quality"]["length_controlled"]["models"]["good"] == json.loads(
        json.dumps(expected.to_dict())
    )
    assert "with_difficulty (AlpacaEval's length_controlled_noreg)" in said
    of = ("--anchor", "wordy", "--anchor", "terse")
    said, found = numbers(tmp_path, folder, "--length", "base", "--difficulty", file, *of)
    gamed = anchors_of([(won[k], lengths[k], base) for k in (3, 4)], [g, g])
    expected = length_controlled(
        won[1], lengths[1], base, clusters, difficulty=g, anchors=gamed, resamples=20
    )
    got = found["quality"]["length_controlled"]
    assert set(got["models"]) == {"long", "good", "plain"}
    assert got["models"]["good"] == json.loads(json.dumps(expected.to_dict()))
    assert "full (AlpacaEval's length_controlled_v1)" in said


def test_fitted_difficulties_are_of_the_other_models(compared, tmp_path):
    folder, won, lengths, base = compared
    d = lengths - base
    d /= d.std(1, ddof=1, keepdims=True)
    others = [0, 2, 3, 4]
    g = instruction_difficulty(won[others], d[others])
    expected = length_controlled(
        won[1], lengths[1], base, [f"c{i // 2}" for i in range(N)], difficulty=g, resamples=20
    )
    said, found = numbers(tmp_path, folder, "--length", "base", "--difficulty", "fit")
    got = found["quality"]["length_controlled"]["models"]["good"]
    assert got["weights"] == pytest.approx(expected.weights, abs=1e-4)
    assert "difficulties fitted on the other models here" in said


def test_p_is_corrected_over_all_that_is_shown(compared, tmp_path):
    folder = compared[0]
    for words, correct, shown in (
        ((), holm, "after Holm"),
        (("--correction", "benjamini-hochberg"), benjamini_hochberg, "after Benjamini and Hochberg"),
        (("--correction", "none"), list, None),
    ):
        said, found = numbers(tmp_path, folder, *words)
        rates = found["quality"]["win_rates"]
        assert [w["adjusted"] for w in rates] == pytest.approx(correct([w["p"] for w in rates]))
        assert len(rates) == rates[0]["comparisons"] == 5
        assert ("after" in said) == (shown is not None)
        assert shown is None or shown in said


@pytest.fixture
def graded(tmp_path):
    """(folder, judged [2, 80], people's labels of x's first 40): a judge that lets much pass."""
    rng = np.random.default_rng(1)
    true = rng.random((2, 80)) < np.array([[0.4], [0.7]])
    said = np.where(true, rng.random((2, 80)) < 0.95, rng.random((2, 80)) < 0.35)
    items = [
        JudgedItem(f"q{i}", f"c{i}", [{"role": "user", "content": f"ask {i}"}], {"x": "r", "y": "s"})
        for i in range(80)
    ]
    records = [
        GradeRecord(f"q{i}", f"c{i}", "fine", "j", m, float(s), acceptable=bool(s))
        for row, m in zip(said, "xy", strict=True)
        for i, s in enumerate(row)
    ]
    folder = tmp_path / "graded"
    append(folder / "items.jsonl", items)
    append(folder / "verdicts.jsonl", records)
    return folder, said, true


def test_pass_rates_are_corrected_by_votes_on_some_of_the_replies(graded, tmp_path):
    """Three raters, of which one is always wrong: the majority counts. An even vote says nothing."""
    folder, said, true = graded
    votes = tmp_path / "votes.jsonl"
    rows = [
        {
            "item": f"q{i}",
            "model": "x",
            "dimension": "fine",
            "acceptable": bool(true[0, i]) ^ (r == "c"),
            "rater": r,
        }
        for i in range(40)
        for r in "abc"
    ]
    rows += [
        {"item": "q50", "model": "x", "dimension": "fine", "acceptable": k, "rater": r}
        for k, r in ((True, "a"), (False, "b"))
    ]
    votes.write_text("".join(json.dumps(r) + "\n" for r in rows))
    text, found = numbers(tmp_path, folder, "--corrected-by", votes)
    got = found["fine"]["pass_rates"]["j"]
    for k, m in enumerate("xy"):
        expected = corrected_rate(
            said[k].tolist(), range(80), said[0, :40].tolist(), true[0, :40].tolist(), range(40), resamples=20
        )
        assert got[m] == json.loads(json.dumps(expected.to_dict()))
    assert "as judged" in text
    c = got["x"]
    assert f"{100 * c['corrected']['value']:.1f} % [{100 * c['corrected']['low']:.1f}" in text
    assert "on 40 labelled replies" in text
    assert "sensitivity" in text
    assert "x against y" in text  # the ratings stand as before


def test_pass_rates_are_corrected_by_a_folder_that_people_judged_too(graded, tmp_path):
    """A folder of the judge's and of people's grades on other conversations. One model alone needs no ratings."""
    folder, said, true = graded
    audited = tmp_path / "audited"
    append(
        audited / "verdicts.jsonl",
        [
            GradeRecord(f"p{i}", f"d{i}", "fine", j, "z", float(v[i]), acceptable=bool(v[i]))
            for j, v in (("j", said[1]), ("human:ann", true[1]))
            for i in range(80)
        ],
    )
    one = tmp_path / "one"
    append(one / "items.jsonl", [JudgedItem(f"q{i}", f"c{i}", [], {"x": "r"}) for i in range(80)])
    append(
        one / "verdicts.jsonl",
        [
            GradeRecord(f"q{i}", f"c{i}", "fine", "j", "x", float(s), acceptable=bool(s))
            for i, s in enumerate(said[0])
        ],
    )
    text, found = numbers(tmp_path, one, "--corrected-by", audited)
    expected = corrected_rate(
        said[0].tolist(), range(80), said[1].tolist(), true[1].tolist(), range(80, 160), resamples=20
    )
    assert found == {"fine": {"pass_rates": {"j": {"x": json.loads(json.dumps(expected.to_dict()))}}}}
    assert text.startswith("fine:\n  pass rates by j")
    assert "one model alone was graded" in run("rate", one, code=1)
    said_no = run("rate", one, "--corrected-by", folder, code=1)
    assert "people graded nothing there" in said_no


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--difficulty", "fit"), "--difficulty would have no effect without --length"),
        (("--length", "base", "--anchor", "wordy"), "needs --difficulty"),
        (("--length", "nobody"), "nobody is none of the models compared"),
        (("--length", "base", "--difficulty", "none.jsonl"), "no file of difficulties at none.jsonl"),
        (
            ("--length", "base", "--difficulty", "fit", "--anchor", "other"),
            "other was not compared with base",
        ),
        (("--correction", "bonferroni"), "none of none, holm, benjamini-hochberg"),
        (("--corrected-by", "nowhere.csv"), "no file of votes"),
    ],
)
def test_options_that_do_not_fit_are_named(compared, words, problem):
    assert problem in run("rate", compared[0], "--resamples", 5, *words, code=1)


def test_replies_that_are_not_stored_or_not_one_are_an_error(compared, tmp_path):
    folder = compared[0]
    bare, other = tmp_path / "bare", tmp_path / "other"
    for copy in (bare, other):
        copy.mkdir()
        (copy / "verdicts.jsonl").write_text((folder / "verdicts.jsonl").read_text())
    assert "to q0 is not in items.jsonl" in run("rate", bare, "--style", "--resamples", 5, code=1)
    (other / "items.jsonl").write_text((folder / "items.jsonl").read_text().replace("ab ab", "cd cd"))
    assert "different replies of" in run("rate", folder, other, "--style", "--resamples", 5, code=1)
