"""One page on any set of folders and files: each is known by what stands in it, shown once, and told from what is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from halign.audits import audit
from halign.audits.labels import Label
from halign.errors import HalignError
from halign.evaluate import Interval
from halign.judges.records import FACTS, ITEMS, VERDICTS, Judged
from halign.recipes.table_report import Findings, results
from halign.reporting import report
from halign.reporting.sources import followed, sort_out
from halign.reporting.stored_results import words
from halign.suites.results import Results, SuiteResult
from tests.reporting import synthetic
from tests.reporting.browser import BROWSER, Browser
from tests.reporting.folders import judged_folder
from tests.reporting.test_judged_page import SCRIPT
from tests.reporting.test_report import check

KEPT = Interval(0.6252, 0.5, 0.75, 40, 12)


def recipe(folder: Path) -> Path:
    """What a table of models leaves, as its publisher writes it."""
    evidence = synthetic.evidence(folder / "runs", n=20)
    (folder / "results.json").write_text(json.dumps(results(Findings(evidence, []))))
    return folder


def evaluation(folder: Path) -> Path:
    """What ``halign evaluate --before`` leaves."""
    for place in ("shop", "before/shop"):
        judged_folder(folder / place, items=4, judge="shop rules")
    suite = SuiteResult(
        "shop",
        4,
        {},
        {"rule kept": KEPT, "grade": Interval(7.25, 6.5, 8.0, 40, 12)},
        {"category": {"orders": {"rule kept": KEPT}, "returns": {"rule kept": KEPT}}},
        0.25,
        {"unparsable": 2},
        changes={"rule kept": Interval(-0.03, -0.1, 0.04, 40, 12)},
        remarks=("Asked in English.",),
    )
    Results("after", "before", (suite,), "halign evaluate x").save(folder)
    return folder


def audited(file: Path, folder: Path) -> Path:
    """What ``halign audit --output`` writes."""
    judged = Judged.read(folder)
    labels = [Label(r.item, r.a, r.b, r.a) for r in judged.pairs]
    found = audit(judged.pairs, judged.items, labels=labels)
    file.write_text(json.dumps([a.to_dict() for a in found]))
    return file


def data(file: Path) -> Path:
    rows = [{"prompt": f"Question {i}?", "chosen": "Yes, gladly.", "rejected": "No."} for i in range(12)]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    file.with_name(f"{file.name}.card.yaml").write_text("title: Pairs of a shop\nlicence: CC BY 4.0\n")
    return file


def mix(home: Path) -> list[Path]:
    judged = judged_folder(home / "judged", items=12)
    return [
        synthetic.run_folder(home / "tuned"),
        recipe(home / "recipe"),
        judged,
        audited(home / "audit.json", judged),
        evaluation(home / "evaluated"),
        data(home / "pairs.jsonl"),
    ]


def test_one_page_on_a_run_a_recipe_verdicts_an_audit_an_evaluation_and_data(tmp_path):
    paths = mix(tmp_path)
    page = report([*paths, paths[0]]).html
    text = check(SCRIPT.sub("", page))
    assert "tuned and recipe and 4 more" in text
    assert text.count("Train tuned again") == 1
    for said in ("Train M1SFT again", "Judge judged again", "Cost and time", "What was trained on what"):
        assert said in text, said
    # the recipe: models with what they reach, the way they went, and who was better
    stored = json.loads((paths[1] / "results.json").read_text())
    i = Interval(**stored["models"]["Mipo"]["all"]["adherence"])
    assert f"{i.value:.3f} {i.low:.3f} to {i.high:.3f}" in text
    assert "recipe: all three against KL" in page
    compared = next(
        c for c in stored["comparisons"] if (c["a"], c["b"], c["prompts"]) == ("Mipo", "M1SFT", "all")
    )
    value, span = words(Interval(**compared["advantage"]["adherence"]), signed=True)
    assert f"Mipo M1SFT all adherence {value} {span}" in text
    # the evaluation: measures, what changed, by group; the verdicts of both models
    assert "rule kept 0.625 0.500 to 0.750 40 −0.030 −0.100 to +0.040" in text
    assert "grade 7.25 6.50 to 8.00 40 –" in text
    assert "category returns rule kept 0.625 0.500 to 0.750 40" in text
    assert "25.0 % of the replies were cut off. No verdict: 2 unparsable. Asked in English." in text
    assert [j.path.name for j in sort_out(paths).judged] == ["judged", "shop", "shop"]
    assert "before/shop" in page
    # the audit, people included, and the data
    people = json.loads(paths[3].read_text())[0]["people"]["agreement"]
    assert f"careful helpfulness people, agreement {people['value']:.3f}" in text
    assert "Pairs of a shop" in text
    assert "licence CC BY 4.0" in text
    assert "rows 12 form" in text


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
def test_the_page_fits_a_phone_and_paper_and_asks_nobody(tmp_path):
    file = report(mix(tmp_path)).save(tmp_path / "report.html")
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(file.as_uri() + "#explore&text=gladly&open=0")
        browser.until("document.getElementById('count')?.textContent.includes(' of ')")
        assert browser.run("performance.getEntriesByType('resource').length") == 0
        moved = "[...document.querySelectorAll('.wide')].filter((w) => w.scrollWidth > w.clientWidth)"
        for width in (390, 1280):
            browser.picture(tmp_path / "page.png", width, 900)
            assert browser.run("document.documentElement.scrollWidth") <= width
            hidden = f"{moved}.filter((w) => w.tabIndex !== 0 || !w.ariaLabel).length"
            assert browser.run(hidden) == 0  # what lies outside can be reached by keys
        browser.run("document.querySelector('.wide').focus()")
        browser.press("Tab")
        assert browser.run("document.activeElement.tagName") != "BODY"
        browser.send("Emulation.setEmulatedMedia", media="print")
        browser.picture(tmp_path / "paper.png", 794, 1123)
        assert browser.run("document.documentElement.scrollWidth") <= 794
        assert browser.run(f"{moved}.length") == 0
        assert browser.run("document.getElementById('list').clientHeight") == 0
    finally:
        browser.close()


def test_what_a_live_page_follows_of_results(tmp_path):
    recipe(tmp_path / "recipe")
    evaluation(tmp_path / "evaluated")
    (tmp_path / "evaluated" / "before" / "shop" / VERDICTS).unlink()
    later = tmp_path / "later"
    found = followed([tmp_path / "recipe", tmp_path / "evaluated", later])
    runs = [tmp_path / "recipe" / "runs" / name for name in ("M1SFT", "Mipo")]
    assert found == [*runs, tmp_path / "evaluated" / "shop", later]
    with pytest.raises(HalignError, match="--serve follows folders"):
        followed([data(tmp_path / "pairs.jsonl")])


def broken(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder


DAMAGED = {
    "config.yaml cannot be read: it is not YAML": lambda t: broken(synthetic.run_folder(t / "a"), "config.yaml", "a: [1"),
    "config.yaml cannot be read: it holds no settings": lambda t: broken(synthetic.run_folder(t / "a"), "config.yaml", ""),
    "metrics.jsonl:1: not JSON": lambda t: broken(synthetic.run_folder(t / "a"), "metrics.jsonl", "{\n{}\n"),
    "metrics.jsonl:2: not a row of metrics": lambda t: broken(
        synthetic.run_folder(t / "a"), "metrics.jsonl", '{"step": 1}\n[1]\n'
    ),
    "reward.json cannot be read": lambda t: broken(synthetic.run_folder(t / "a"), "reward.json", "{"),
    "judging.json:?.*delete it": lambda t: broken(judged_folder(t / "a", items=1), FACTS, "{"),
    "judging.json.*does not say who judged": lambda t: broken(judged_folder(t / "a", items=1), FACTS, '{"judges": 3}'),
    "items.jsonl:1: not a row of verdicts": lambda t: broken(judged_folder(t / "a", items=1), ITEMS, '{"item": 1}\n'),
    "verdicts.jsonl:2: not a row of verdicts": lambda t: broken(
        judged_folder(t / "a", items=1), VERDICTS, (t / "a" / VERDICTS).read_text().split("\n")[0] + "\n[]\n"
    ),
    "results.json cannot be read": lambda t: broken(evaluation(t / "a"), "results.json", "{"),
    "results.json holds no numbers with intervals": lambda t: broken(evaluation(t / "a"), "results.json", "{}"),
    "a.json is not what halign audit": lambda t: broken(t, "a.json", "{}") / "a.json",
    "a.txt is neither the numbers of halign audit": lambda t: broken(t, "a.txt", "") / "a.txt",
    "does not exist": lambda t: t / "nowhere",
    "is not a run folder": lambda t: t,
}  # fmt: skip


@pytest.mark.parametrize("said", DAMAGED)
def test_what_is_damaged_is_one_error_that_names_the_file(tmp_path, said):
    path = DAMAGED[said](tmp_path)
    with pytest.raises(HalignError, match=said) as caught:
        report([path])
    assert str(tmp_path) in str(caught.value)


def test_what_is_small_or_empty_is_shown():
    with pytest.raises(HalignError, match="a report needs something to report"):
        report([])


@pytest.mark.parametrize("items", [0, 1])
def test_folders_with_next_to_nothing_in_them_are_shown(tmp_path, items):
    run = synthetic.run_folder(tmp_path / "run", steps=0)
    (run / "metrics.jsonl").unlink()
    (run / "done").write_text("")
    (run / "environment.json").write_text("[]")
    judged = judged_folder(tmp_path / "judged", items=items)
    text = check(SCRIPT.sub("", report([run, judged]).html))
    assert ("there are no verdicts yet" in text) == (items == 0)
