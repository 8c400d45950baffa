"use strict";
// Ask the server every two seconds what is new, and put the training section in place. Nothing runs in a hidden page.

(() => {
  const place = document.getElementById("live-training"), status = document.getElementById("live");
  const EVERY = 2000;
  let version = -1, judging = null;

  function folded() { return [...place.querySelectorAll("details")].map((d) => d.open); }

  function put(news) {
    const open = folded();
    place.innerHTML = news.training; // made and escaped by the report's own template
    place.querySelectorAll("details").forEach((d, i) => { if (i < open.length) d.open = open[i]; });
    version = news.version;
    const verdicts = JSON.stringify(news.judging), older = judging !== null && verdicts !== judging;
    if (judging === null) judging = verdicts;
    const parts = [news.finished ? "Everything is finished." : `Following; last change ${new Date().toLocaleTimeString()}.`];
    if (news.waiting.length) parts.push(`Not there yet: ${news.waiting.join(", ")}.`);
    if (older) parts.push("There are new verdicts: load the page again to see them.");
    status.textContent = parts.join(" ");
  }

  async function ask() {
    if (document.hidden) return;
    try {
      const answer = await fetch(`/live?have=${version}`);
      if (answer.status === 200) put(await answer.json());
      else if (answer.status !== 204) status.textContent = await answer.text();
    } catch {
      status.textContent = "The server has ended; this is the last that it said.";
    }
  }

  async function follow() { await ask(); setTimeout(follow, EVERY); }
  document.addEventListener("visibilitychange", ask);
  follow();
})();
