"use strict";
// Ask the server every two seconds what is new: parts of the page are put in place, verdicts are handed to the explorer. Nothing is
// asked while the page is hidden.

(() => {
  const status = document.getElementById("live"), table = document.getElementById("verdict-table");
  const EVERY = 2000, generation = status.dataset.generation;
  const put = new Map();
  let version = -1, asking = false;

  // What a reader did to a part stays: what was unfolded, how far a table was moved, where the focus is
  function replace(place, html) {
    const folds = [...place.querySelectorAll("details")].map((d) => d.open);
    const moved = [...place.querySelectorAll(".wide")].map((d) => d.scrollLeft);
    const focused = place.contains(document.activeElement) ? [...place.querySelectorAll("a, summary, [tabindex]")].indexOf(document.activeElement) : -1;
    place.innerHTML = html; // made and escaped by the report's own templates
    place.querySelectorAll("details").forEach((d, i) => { if (i < folds.length) d.open = folds[i]; });
    place.querySelectorAll(".wide").forEach((d, i) => { d.scrollLeft = moved[i] || 0; });
    if (focused >= 0) place.querySelectorAll("a, summary, [tabindex]")[focused]?.focus({ preventScroll: true });
  }

  function take(news) {
    if (news.generation !== generation) {
      const kept = location.hash.replace(/&open=\d+/, ""); // verdicts may have other numbers now
      history.replaceState(null, "", kept || location.pathname);
      location.reload();
      return;
    }
    for (const [name, html] of Object.entries(news.parts)) {
      if (put.get(name) !== html) replace(document.querySelector(`[data-live="${name}"]`), html);
      put.set(name, html);
    }
    if (news.verdicts) window.halignExplorer.append(news.verdicts);
    version = news.version;
    const parts = [news.finished ? "Everything is finished." : `Following; last change ${new Date().toLocaleTimeString()}.`];
    if (news.waiting.length) parts.push(`Not there yet: ${news.waiting.join(", ")}.`);
    status.textContent = parts.join(" ");
  }

  async function ask() {
    if (document.hidden || asking || (table && !window.halignExplorer)) return;
    asking = true;
    try {
      for (let more = true; more; ) {
        const mark = table ? `&mark=${window.halignExplorer.data.mark}` : "";
        const answer = await fetch(`/live?have=${version}${mark}`);
        if (answer.status !== 200 && answer.status !== 204) status.textContent = await answer.text();
        const news = answer.status === 200 ? await answer.json() : { more: false };
        if (answer.status === 200) take(news);
        more = news.more;
      }
    } catch {
      status.textContent = "The server has ended; this is the last that it said.";
    } finally {
      asking = false;
    }
  }

  async function follow() { await ask(); setTimeout(follow, EVERY); }
  document.addEventListener("visibilitychange", ask);
  follow();
})();
