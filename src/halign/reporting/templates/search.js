"use strict";
// Search in prompts, replies and what judges wrote. The first search inflates all pieces of texts; every search works in slices of a
// few milliseconds, so that typing goes on meanwhile, and a newer search ends an older one.

window.halignSearch = (() => {
  const SLICE = 8, COMMON = -1, AHEAD = 4;
  const { inflate, fresh } = window.halignTexts;
  const index = []; // by item: its texts a line each, and what each line is: COMMON, the number of a model, or -2 - the row of a judge's words
  let piecesDone = 0, latest = 0, last = null, sliceEnd = 0;

  const plain = (text) => text.replace(/\s+/g, " ").toLowerCase();
  const channel = new MessageChannel(), waiting = [];
  channel.port1.onmessage = () => waiting.shift()();
  const pause = () => new Promise((go) => { waiting.push(go); channel.port2.postMessage(0); });
  async function breathe() {
    if (performance.now() < sliceEnd) return;
    await pause();
    sliceEnd = performance.now() + SLICE;
  }

  function entry(data, number, texts) {
    const lines = [plain(`${data.items[number]} ${data.conversations[number]}`)], labels = [COMMON];
    const add = (text, label) => { lines.push(plain(text)); labels.push(label); };
    for (const [, content, rest] of texts.prompt) add(`${content} ${rest}`, COMMON);
    for (const [model, text] of Object.entries(texts.replies)) add(text, data.models.indexOf(model));
    for (const [row, said] of Object.entries(texts.why)) for (const text of said) add(text, -2 - Number(row));
    return { text: lines.join("\n"), labels };
  }

  async function build(data, stale, told) {
    const coming = []; // pieces that are inflated, which browsers do beside this thread, while an earlier one is taken in
    for (let piece = piecesDone; piece < data.starts.length; piece++) {
      while (coming.length < AHEAD && piece + coming.length < data.starts.length) coming.push(inflate(`texts-${piece + coming.length}`));
      const start = data.starts[piece], texts = await coming.shift();
      if (stale()) return;
      for (let i = 0; i < texts.length; i++) {
        if (!index[start + i]) index[start + i] = entry(data, start + i, fresh.get(start + i) || texts[i]);
        await breathe();
        if (stale()) return;
      }
      piecesDone = Math.max(piecesDone, piece + 1);
      told(`Reading all texts for the first search: ${Math.round((100 * piecesDone) / data.starts.length)} %`);
    }
  }

  function mark(data, number, needle, hits) {
    const { text, labels } = index[number], rows = data.rowsOf.get(number) || [];
    for (const row of rows) hits[row] = 0;
    if (!text.includes(needle)) return false;
    const found = new Set(labels.filter(((lines) => (_, i) => lines[i].includes(needle))(text.split("\n"))));
    for (const row of rows) {
      const { a, b } = data.rows;
      if (found.has(COMMON) || found.has(a[row]) || (b[row] >= 0 && found.has(b[row])) || found.has(-2 - row)) hits[row] = 1;
    }
    return true;
  }

  // For every row, 1 where the words stand in its prompt, in a reply that it is about, or in its judge's words; null if a newer search began.
  async function find(data, words, told) {
    const mine = ++latest, needle = plain(words).trim(), stale = () => mine !== latest;
    await build(data, stale, told);
    if (stale()) return null;
    const hits = new Uint8Array(data.rows.item.length), items = [];
    const among = last && needle.includes(last.needle) ? last.items : index.keys();
    for (const number of among) {
      if (index[number] && mark(data, number, needle, hits)) items.push(number);
      await breathe();
      if (stale()) return null;
    }
    last = { needle, items };
    return hits;
  }

  // New texts: rows of these items are looked at again
  function renew(data, numbers, words, hits) {
    last = null;
    for (const number of numbers) index[number] = entry(data, number, fresh.get(number));
    if (!hits) return null;
    const more = new Uint8Array(data.rows.item.length);
    more.set(hits);
    for (const number of numbers) mark(data, number, plain(words).trim(), more);
    return more;
  }

  function show(holder, words) {
    if (!window.Highlight || !CSS.highlights) return;
    CSS.highlights.delete("found");
    const needle = (words || "").trim();
    if (!needle) return;
    const pattern = new RegExp(needle.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/\s+/g, "\\s+"), "giu");
    const found = new Highlight(), nodes = document.createTreeWalker(holder, NodeFilter.SHOW_TEXT);
    while (nodes.nextNode()) {
      for (const { index: at, 0: text } of nodes.currentNode.data.matchAll(pattern)) {
        const range = new Range();
        range.setStart(nodes.currentNode, at);
        range.setEnd(nodes.currentNode, at + text.length);
        found.add(range);
      }
    }
    CSS.highlights.set("found", found);
  }

  return { find, renew, show };
})();
