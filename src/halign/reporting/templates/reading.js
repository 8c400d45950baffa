"use strict";
// Reading one verdict: the conversation, the replies, what the judge wrote, and what else was said of the same item.

window.halignReading = (() => {
  let latest = -1;

  function make(tag, text, css) {
    const element = document.createElement(tag);
    if (text) element.textContent = text;
    if (css) element.className = css;
    return element;
  }

  function talk(prompt) {
    const holder = make("div", "", "talk");
    for (const [role, content, rest] of prompt) {
      const turn = make("div", content, ["user", "assistant", "system"].includes(role) ? role : "system");
      turn.prepend(make("small", `${role}: `));
      if (rest) turn.append(make("small", ` ${rest}`));
      holder.append(turn);
    }
    return holder;
  }

  function reply(name, text, css) {
    const holder = make("div", "", `reply ${css}`);
    holder.append(make("small", name), make("div", text === undefined ? "(this reply is not stored)" : text || "(says nothing)", "text"));
    return holder;
  }

  function replies(names, of) {
    const both = make("div", "", "replies");
    names.forEach((name, i) => { if (name !== null) both.append(reply(name, of[name], names[1] === null ? "plain" : "ab"[i])); });
    const rest = Object.keys(of).filter((name) => !names.includes(name));
    if (!rest.length) return [both];
    const folded = make("details"), more = make("div", "", "replies");
    folded.append(make("summary", `Replies of ${rest.length} more`), more);
    rest.forEach((name) => more.append(reply(name, of[name], "plain")));
    return [both, folded];
  }

  function reasons(data, row, why) {
    const { a, b, first, second } = data.rows, out = [];
    const says = (code) => (code < 0 ? "no verdict" : data.verdicts[code]);
    if (b[row] >= 0) {
      const [one, other] = [data.models[a[row]], data.models[b[row]]];
      out.push(make("p", `A is ${one}, B is ${other}. With A shown first: ${says(first[row])}. With B shown first: ${says(second[row])}.`));
    }
    (why || []).forEach((text, i) => out.push(make("small", b[row] >= 0 && why.length > 1 ? (i ? "B first: " : "A first: ") : "The judge: "), make("p", text, "text")));
    return out;
  }

  return async (row, model, searched, stay = false) => {
    const { data, sides, words, where, go } = window.halignExplorer, holder = document.getElementById("reading");
    latest = row;
    const number = data.rows.item[row], me = data.models.indexOf(model), found = await window.halignTexts.of(data.starts, number);
    if (latest !== row) return; // another verdict was chosen while this one's texts were read
    const asked = data.rows.rule[row] < 0 ? null : data.rules[data.rows.rule[row]];
    const rules = make("ul", "", "force");
    found.rules.forEach((rule) => rules.append(make("li", rule)));
    const turn = found.turn === null ? "" : `, message ${found.turn}`;
    const list = make("ul", "", "others");
    for (const other of data.rowsOf.get(number)) {
      const entry = list.appendChild(make("li")), button = entry.appendChild(make("button", `${words(other, me)} · ${where(other)}`));
      button.type = "button";
      if (other === row) entry.setAttribute("aria-current", "true");
      button.addEventListener("click", () => go(other));
    }
    const parts = [make("h3", words(row, me)), make("small", `${where(row)} · conversation ${data.conversations[number]}${turn}`)];
    if (asked) parts.push(make("p", `Asked about: ${asked}`));
    parts.push(...reasons(data, row, found.why[row]));
    if (found.rules.length) parts.push(make("h3", "Guardrails in force"), rules);
    parts.push(make("h3", "Conversation"), found.prompt.length ? talk(found.prompt) : make("p", "The prompt is not stored in items.jsonl."));
    parts.push(make("h3", "Replies"), ...replies(sides(row, me), found.replies));
    if (found.meta) parts.push(make("p", found.meta, "soft"));
    parts.push(make("h3", "Everything said of this item"), list);
    const top = stay ? holder.scrollTop : 0;
    holder.replaceChildren(...parts);
    holder.scrollTop = top;
    window.halignSearch.show(holder, searched);
    holder.dataset.row = row;
  };
})();
