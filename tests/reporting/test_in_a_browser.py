"""The explorer in a real browser: filters count as Python does, keys move, hostile text is inert, a long list stays short."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from halign.judges import Verdict
from halign.judges.records import GradeRecord, Judged, JudgedItem, PairRecord
from halign.reporting import report
from tests.reporting.browser import BROWSER, Browser
from tests.reporting.folders import HOSTILE, RULES, judged_folder

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
ITEMS = 100


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    home = tmp_path_factory.mktemp("browser")
    folders = [
        judged_folder(home / "first", items=ITEMS),
        judged_folder(home / "second", items=ITEMS, judge="other", grades=False),
    ]
    file = report(folders).save(home / "report.html")
    browser = Browser(home / "profile")
    read_again = [Judged.read(f) for f in folders]
    records = [r for f in read_again for r in f.records]
    ITEMS_OF.update(read_again[0].items)
    yield browser, file.as_uri(), records
    browser.close()


def go(page, fragment=""):
    browser, address, _ = page
    browser.open("about:blank")
    browser.open(address + fragment)
    browser.until("document.getElementById('explorer').hidden === false")
    return browser


def count(browser):
    return int(browser.run("document.getElementById('count').textContent").split()[0].replace(",", ""))


def read(browser, row):
    browser.until(f"document.getElementById('reading').dataset.row === '{row}'")
    return browser.run("document.getElementById('reading').innerText")


def about(r, model):
    return model in ((r.model,) if isinstance(r, GradeRecord) else (r.a, r.b))


def split(r):
    return isinstance(r, PairRecord) and r.outcome is not None and not r.outcome.agrees


def won(r, model):
    """Both orders say that the model is better."""
    if not isinstance(r, PairRecord) or r.trouble or not about(r, model):
        return False
    wanted = Verdict.A if r.a == model else Verdict.B
    return r.first is r.second is wanted


def holds(r, words):
    """Whether these words stand in what is to be read of a verdict: its prompt, the replies that it is about, the judge's own."""
    item = ITEMS_OF[r.item]
    said = [r.item, r.conversation, *(m["content"] for m in item.prompt), *r.why]
    said += [item.replies[m] for m in ((r.model,) if isinstance(r, GradeRecord) else (r.a, r.b))]
    return any(words.lower() in " ".join(text.lower().split()) for text in said)


ITEMS_OF: dict[str, JudgedItem] = {}
SEARCHED = (
    "where is ORDER 1",
    "this is tuned on item-4",
    "start is as it  is.",
    "conversation-3",
    'onerror="document',
    "w4",
)

CASES = {
    "": lambda r: True,
    "model=tuned": lambda r: about(r, "tuned"),
    "model=tuned&verdict=a": lambda r: won(r, "tuned"),
    "model=tuned&verdict=b": lambda r: (
        won(r, "start" if about(r, "start") else "<b>bold</b>") and about(r, "tuned")
    ),
    "model=tuned&against=start&verdict=a": lambda r: won(r, "tuned") and about(r, "start"),
    "verdict=wrong&rule=" + RULES[1].replace(" ", "+"): lambda r: (
        isinstance(r, GradeRecord) and r.guardrail == RULES[1] and r.acceptable is False
    ),
    "split=orders": lambda r: split(r),
    "judge=other&dimension=helpfulness&folder=second": lambda r: r.judge == "other",
    "verdict=abstained": lambda r: r.trouble == "abstained",
    "text=ITEM-17": lambda r: r.item == "item-17",
    "text=start+is+as&verdict=orders&model=tuned": lambda r: (
        holds(r, "start is as") and about(r, "tuned") and bool(split(r))
    ),
    "model=%3Cb%3Ebold%3C%2Fb%3E&verdict=neither": lambda r: (
        isinstance(r, PairRecord) and about(r, "<b>bold</b>") and r.first is r.second is Verdict.NEITHER
    ),
}


def test_a_search_finds_words_in_prompts_replies_and_what_judges_wrote(page):
    browser, records = go(page), page[2]
    counts = set()
    for words in SEARCHED:
        wanted = [holds(r, " ".join(words.split())) for r in records]
        counts.add(sum(wanted))
        type_in(browser, words)
        browser.until(f"document.getElementById('count').textContent.startsWith('{sum(wanted):,} of ')")
        browser.until(f"location.hash.includes({json.dumps(urlencode({'text': words.strip()}))})")
        assert browser.run("Number(document.querySelector('.verdict').getAttribute('aria-setsize'))") == sum(
            wanted
        )
        browser.run("document.getElementById('list').scrollTop = 0")
        browser.until("document.getElementById('verdict-0') !== null")
        browser.run("document.getElementById('verdict-0').click()")
        row = wanted.index(True)
        read(browser, row)
        assert browser.run("CSS.highlights.get('found').size") > 0 or words == "conversation-3"
    assert len(counts) == len(SEARCHED)
    type_in(browser, "this is tuned on item-4 is not said")
    browser.until("document.getElementById('count').textContent === 'No verdict fits these filters.'")
    type_in(browser, "")
    browser.until(f"document.getElementById('count').textContent.startsWith('{len(records):,} of ')")


def type_in(browser, words):
    put = f"const i = document.querySelector('#filters [name=text]'); i.value = {json.dumps(words)};"
    browser.run(f"(() => {{ {put} i.dispatchEvent(new Event('input')); }})()")


def test_filters_in_the_address_count_as_python_does(page):
    browser, _, records = go(page), *page[1:]
    for fragment, fits in CASES.items():
        browser.run(f"location.hash = {json.dumps('#explore&' + fragment)}")
        wanted = sum(map(fits, records))
        assert wanted, fragment
        browser.until(f"document.getElementById('count').textContent.startsWith('{wanted:,} of ')")
    browser.run("location.hash = '#explore&text=nowhere'")
    browser.until("document.getElementById('count').textContent === 'No verdict fits these filters.'")


def test_choosing_a_filter_puts_it_into_the_address_and_showing_all_takes_it_out(page):
    browser = go(page)
    change = "(() => { const s = document.querySelector('#filters [name=%s]'); s.value = '%s'; %s })()"
    fire = "s.dispatchEvent(new Event('change'))"
    browser.run(change % ("model", "tuned", fire))
    browser.run(change % ("verdict", "a", fire))
    assert browser.run("location.hash") == "#explore&model=tuned&verdict=a"
    assert count(browser) == sum(won(r, "tuned") for r in page[2])
    assert (
        browser.run("document.querySelector('#filters [name=verdict]').selectedOptions[0].textContent")
        == "tuned better"
    )
    browser.run("document.querySelector('#filters button').click()")
    assert count(browser) == len(page[2])
    assert browser.run("location.hash") == "#explore"


def test_a_verdict_is_read_with_its_conversation_and_both_replies(page):
    row = next(n for n, r in enumerate(page[2]) if won(r, "tuned") and r.item != "item-1" and r.a == "start")
    r = page[2][row]
    said = read(go(page, f"#explore&open={row}&model=tuned"), row)
    for words in (
        "tuned better than start",
        "A is start, B is tuned",
        r.why[0],
        r.why[1],
        *RULES,
        f"this is tuned on {r.item}",
    ):
        assert words in said
    assert f"Where is order {r.item.removeprefix('item-')}?" in said
    assert said.count("Everything said of this item") == 1
    assert page[0].run("document.querySelectorAll('#reading .others li').length") == 15


def test_hostile_text_is_text(page):
    row = next(
        n for n, r in enumerate(page[2]) if r.item == "item-1" and about(r, "tuned") and len(r.why) == 2
    )
    browser = go(page, f"#explore&open={row}")
    said = read(browser, row)
    assert said.count(HOSTILE) == 3  # the system message, the reply, what the judge wrote
    assert browser.run("document.querySelectorAll('img, #reading script').length") == 0
    assert "owned" not in browser.run("document.title")
    put = "const s = document.createElement('script'); s.textContent = \"document.title = 'owned'\"; document.body.append(s);"
    browser.run(f"(() => {{ {put} }})()")
    assert "owned" not in browser.run("document.title")  # the page's policy runs our script and no other


def test_keys_move_through_the_list_and_focus_is_seen(page):
    browser = go(page)
    selected = "document.querySelector('#list [aria-selected=true]')?.getAttribute('aria-posinset')"
    for _ in range(40):
        browser.press("Tab")
        if browser.run("document.activeElement.id") == "list":
            break
    assert browser.run("document.activeElement.id") == "list"  # in the order of focus, after the filters
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for key, place in (
        ("ArrowDown", "1"),
        ("j", "2"),
        ("j", "3"),
        ("k", "2"),
        ("End", str(len(page[2]))),
        ("Home", "1"),
    ):
        browser.press(key)
        assert browser.run(selected) == place, key
    assert browser.run("document.getElementById('list').getAttribute('aria-activedescendant')") == "verdict-0"
    read(browser, 0)
    browser.press("Enter")
    assert browser.run("document.activeElement.id") == "reading"
    browser.press("j")
    read(browser, 1)
    browser.press("Escape")
    assert browser.run("document.activeElement.id") == "list"
    browser.press("/")
    assert browser.run("document.activeElement.name") == "text"


def test_only_what_is_visible_is_in_the_document_and_phones_need_not_scroll_sideways(page, tmp_path):
    browser = go(page, "#explore")
    assert browser.run("document.querySelectorAll('.verdict').length") < 40
    browser.run("document.getElementById('list').scrollTop = 40 * 52")
    browser.until(
        "document.getElementById('verdict-44') !== null && document.getElementById('verdict-0') === null"
    )
    assert browser.run("document.querySelectorAll('.verdict').length") < 40
    assert browser.run("document.getElementById('spread').clientHeight") == 52 * len(page[2])
    assert browser.picture(tmp_path / "phone.png", 390, 844).stat().st_size > 10_000
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert browser.pdf(tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    browser.send("Emulation.clearDeviceMetricsOverride")
