"use strict";
// The explorer: one table of columns, filtered into a list of row numbers, of which only the visible ones are in the document.
// Texts are set as text, never as markup. The state (filters, open verdict) is the address's fragment: #explore&model=...&open=7

(async () => {
  const $ = (id) => document.getElementById(id);
  const ROW = 52, EXTRA = 6, WAIT = 120;
  const SAID = {
    a: "A better", b: "B better", both: "both acceptable", neither: "neither acceptable", orders: "orders disagree",
    fine: "acceptable", wrong: "not acceptable", open: "graded, no threshold",
  };
  const SPLITS = { any: "of any kind", orders: "the judge's two orders", judges: "two judges" };

  if (!window.DecompressionStream) {
    $("trouble").textContent = "Reading single verdicts needs a browser from 2023 or later (DecompressionStream).";
    return;
  }
  const data = await window.halignTexts.inflate("verdict-table"), search = window.halignSearch;
  const { folder, item, judge, dimension, rule, a, b, first, second, value, scale, fine, split, trouble } = data.rows;
  let total = 0;
  data.rowsOf = new Map();
  function take() {
    for (; total < item.length; total++) {
      if (!data.rowsOf.has(item[total])) data.rowsOf.set(item[total], []);
      data.rowsOf.get(item[total]).push(total);
    }
  }
  take();
  const [BOTH, NEITHER, A, B] = ["both acceptable", "neither acceptable", "A better", "B better"].map((v) => data.verdicts.indexOf(v));

  // What a verdict says, from the side of model ``me`` (-1: as it was asked)
  function turned(row, me) { return me >= 0 && b[row] === me; }
  function kind(row, me) {
    if (trouble[row] >= 0) return data.troubles[trouble[row]];
    if (b[row] < 0) return fine[row] === 1 ? "fine" : fine[row] === 0 ? "wrong" : "open";
    if (first[row] !== second[row]) return "orders";
    if (first[row] === BOTH) return "both";
    if (first[row] === NEITHER) return "neither";
    return (first[row] === A) !== turned(row, me) ? "a" : "b";
  }
  function sides(row, me) {
    const names = [data.models[a[row]], b[row] < 0 ? null : data.models[b[row]]];
    return turned(row, me) ? names.reverse() : names;
  }
  function words(row, me) {
    const said = kind(row, me), [one, other] = sides(row, me);
    if (said === "a") return `${one} better than ${other}`;
    if (said === "b") return `${other} better than ${one}`;
    const yesNo = fine[row] >= 0 && scale[row] >= 0 && data.scales[scale[row]].join() === "0,1";
    const grade = value[row] === null || yesNo ? "" : `${Math.round(1000 * value[row]) / 1000} of ${data.scales[scale[row]].join(" to ")}`;
    if (other === null) return `${one}: ${[grade, said === "open" ? "" : SAID[said] || said].filter(Boolean).join(", ")}`;
    return `${SAID[said] || said}: ${one}, ${other}`;
  }

  // Filters
  const unique = (names) => [...new Set(names)];
  const filters = () => [
    ["model", "model", data.models],
    ["against", "against", data.models],
    ["verdict", "verdict", [...Object.keys(SAID), ...data.troubles]],
    ["split", "disagreement", Object.keys(SPLITS)],
    ["dimension", "dimension", data.dimensions],
    ["rule", "guardrail", data.rules],
    ["judge", "judge", data.judges],
    ["folder", "folder", unique(data.folders)],
  ].filter(([name, , values]) => values.length > 1 || (name === "rule" && values.length > 0));
  const state = {};
  let shown = [], at = -1, open = -1, hits = null, searched = "", typed = 0;

  function matcher() {
    const is = (column, names, wanted) => {
      const number = names.indexOf(wanted);
      return (row) => column[row] === number;
    };
    const me = data.models.indexOf(state.model), other = data.models.indexOf(state.against);
    const bits = { orders: 1, judges: 2, any: 3 }[state.split] || 0;
    const tests = [
      state.text && ((row) => hits[row] === 1),
      state.judge && is(judge, data.judges, state.judge),
      state.dimension && is(dimension, data.dimensions, state.dimension),
      state.rule && is(rule, data.rules, state.rule),
      state.model && ((row) => a[row] === me || b[row] === me),
      state.against && ((row) => (state.model ? (a[row] === me ? b[row] : a[row]) === other : a[row] === other || b[row] === other)),
      state.verdict && ((row) => kind(row, me) === state.verdict),
      state.split && ((row) => (split[row] & bits) !== 0),
      state.folder && ((row) => data.folders[folder[row]] === state.folder),
    ].filter(Boolean);
    return (row) => tests.every((test) => test(row));
  }

  function label(name, option) {
    const me = state.model, said = { a: me ? `${me} better` : "the first (A) better", b: me ? "the other better" : "the second (B) better" };
    return name === "verdict" ? said[option] || SAID[option] || option : name === "split" ? SPLITS[option] : option;
  }

  function control(title, element) {
    const holder = document.createElement("label");
    holder.append(title, element);
    $("filters").append(holder);
    return element;
  }

  function buildFilters() {
    const focus = $("filters").contains(document.activeElement) ? document.activeElement.name : "", half = $("filters").elements.text?.value;
    $("filters").replaceChildren();
    for (const [name, title, values] of filters()) {
      const select = control(title, document.createElement("select"));
      select.name = name;
      select.append(new Option("all", ""), ...values.map((v) => new Option(label(name, v), v)));
      select.addEventListener("change", () => { state[name] = select.value; at = -1; apply(); });
    }
    const text = control("search in prompt, replies, explanation", document.createElement("input"));
    text.name = "text";
    text.type = "search";
    text.value = half || ""; // of words that are being typed
    text.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(() => { state.text = text.value.trim(); at = -1; apply(); }, WAIT); });
    const reset = document.createElement("button");
    reset.type = "button";
    reset.textContent = "Show all";
    reset.addEventListener("click", () => { for (const key of Object.keys(state)) delete state[key]; at = -1; apply(); });
    $("filters").append(reset);
    if (focus) $("filters").elements[focus]?.focus();
  }

  function showFilters() {
    for (const element of $("filters").elements) if (element.name && !(element.name === "text" && element === document.activeElement)) element.value = state[element.name] || "";
    for (const option of $("filters").elements.verdict?.options || []) if (option.value) option.textContent = label("verdict", option.value);
  }

  // The address
  function write() {
    const parts = new URLSearchParams();
    for (const [key, v] of Object.entries(state)) if (v) parts.set(key, v);
    if (open >= 0) parts.set("open", open);
    const text = parts.toString();
    history.replaceState(null, "", text ? `#explore&${text}` : "#explore");
  }
  function read() {
    const [place, ...rest] = location.hash.slice(1).split("&");
    if (place !== "explore") return false;
    for (const key of Object.keys(state)) delete state[key];
    const parts = new URLSearchParams(rest.join("&"));
    for (const [key, v] of parts) if (key !== "open") state[key] = v;
    open = parts.has("open") ? Number(parts.get("open")) : -1;
    if (!(open >= 0 && open < total)) open = -1;
    return true;
  }

  // The list: as many elements as are visible, moved as it scrolls
  const list = $("list"), spread = $("spread"), pool = new Map();
  function draw() {
    const from = Math.max(0, Math.floor(list.scrollTop / ROW) - EXTRA);
    const to = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + EXTRA);
    for (const [place, element] of pool) if (place < from || place >= to) { element.remove(); pool.delete(place); }
    for (let place = from; place < to; place++) {
      if (!pool.has(place)) pool.set(place, spread.appendChild(line(place)));
      pool.get(place).setAttribute("aria-selected", String(place === at));
    }
    if (pool.has(at)) list.setAttribute("aria-activedescendant", `verdict-${at}`);
    else list.removeAttribute("aria-activedescendant");
  }
  function line(place) {
    const row = shown[place], me = data.models.indexOf(state.model), element = document.createElement("div");
    const lines = [["said", words(row, me)], ["where", where(row)]];
    for (const [name, text] of lines) {
      const part = document.createElement("div");
      part.className = name;
      part.textContent = text;
      element.append(part);
    }
    element.id = `verdict-${place}`;
    element.className = `verdict ${kind(row, me)}${split[row] ? " split" : ""}`;
    element.setAttribute("role", "option");
    element.setAttribute("aria-setsize", shown.length);
    element.setAttribute("aria-posinset", place + 1);
    element.style.top = `${place * ROW}px`;
    element.addEventListener("click", () => choose(place));
    return element;
  }
  function where(row) {
    const parts = [data.items[item[row]], data.dimensions[dimension[row]]];
    if (rule[row] >= 0) parts.push(data.rules[rule[row]]);
    return [...parts, data.judges[judge[row]]].join(" · ");
  }
  const count = (text) => { if ($("count").textContent !== text) $("count").textContent = text; };
  async function apply() {
    const words = state.text || "";
    if (words !== searched || (words && !hits)) {
      if (words) count("Searching …");
      const found = words ? await search.find(data, words, count) : null;
      if (words !== (state.text || "") || (words && !found)) return; // something newer is looked for
      if (found && found.length < total) return apply(); // verdicts came meanwhile
      [searched, hits] = [words, found];
    }
    filter(false);
    write();
  }
  function filter(stay) {
    const fits = matcher();
    shown = [];
    for (let row = 0; row < total; row++) if (fits(row)) shown.push(row);
    at = shown.indexOf(open);
    lay();
    if (!stay) list.scrollTop = at < 0 ? 0 : Math.max(0, at * ROW - 3 * ROW);
    showFilters();
    draw();
  }
  function lay() {
    for (const element of pool.values()) element.remove();
    pool.clear();
    spread.style.height = `${shown.length * ROW}px`;
    count(shown.length ? `${shown.length.toLocaleString("en")} of ${total.toLocaleString("en")} verdicts` : total ? "No verdict fits these filters." : "There are no verdicts yet.");
  }
  function choose(place) {
    if (!shown.length) return;
    at = Math.max(0, Math.min(shown.length - 1, place));
    open = shown[at];
    const top = at * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    draw();
    write();
    show(open);
  }
  function show(row) { window.halignReading(row, state.model, state.text); }

  // What the server sends of verdicts that came after the page was made
  function append(news) {
    const from = total, names = ["judges", "dimensions", "rules", "models", "scales", "troubles"];
    const grown = names.some((name) => news[name].length > data[name].length);
    for (const name of names) data[name] = news[name];
    for (const name of ["items", "conversations"]) for (const value of news[name]) data[name].push(value);
    for (const [name, values] of Object.entries(news.rows)) for (const value of values) data.rows[name].push(value);
    for (const [row, value] of news.split) if (row < from) split[row] = value;
    take();
    const touched = Object.keys(news.texts).map(Number);
    for (const number of touched) window.halignTexts.fresh.set(number, news.texts[number]);
    hits = search.renew(data, touched, searched, hits);
    data.mark = news.mark;
    if (grown) buildFilters();
    if (state.text && state.text !== searched) apply();
    else if (state.text || news.split.length || grown) filter(true);
    else if (total > from) {
      const fits = matcher();
      for (let row = from; row < total; row++) if (fits(row)) shown.push(row);
      lay();
      draw();
    }
    if (open >= 0 && touched.includes(item[open])) window.halignReading(open, state.model, state.text, true);
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, select, textarea"), reading = $("reading").contains(event.target);
    const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
    const moves = { j: at + 1, k: at - 1 };
    if (!reading) Object.assign(moves, { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: shown.length - 1 });
    if (event.key === "Escape") list.focus();
    else if (typing) return;
    else if (event.key in moves) choose(moves[event.key]);
    else if (event.key === "/") $("filters").elements.text.focus();
    else if (event.key === "Enter" && event.target === list) { if (open < 0) choose(0); $("reading").focus(); }
    else return;
    event.preventDefault();
  }

  function go(row) {
    const place = shown.indexOf(row);
    if (place >= 0) return choose(place);
    open = row;
    write();
    show(row);
  }

  window.halignExplorer = { data, words, where, sides, go, append };
  buildFilters();
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  const asked = read();
  $("explorer").hidden = false;
  apply();
  if (asked) $("explore").scrollIntoView();
  if (open >= 0) show(open);
  list.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  window.addEventListener("resize", () => requestAnimationFrame(draw));
  window.addEventListener("hashchange", () => { if (read()) { apply(); $("explore").scrollIntoView(); if (open >= 0) show(open); } });
  $("explore").addEventListener("keydown", keys);
})();
