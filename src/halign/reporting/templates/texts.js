"use strict";
// What is to be read of items: packed into the page in pieces that are inflated when they are needed, or sent later by the server.

window.halignTexts = (() => {
  const pieces = new Map(), fresh = new Map();

  async function inflate(id) {
    const raw = atob(document.getElementById(id).textContent.trim()), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  async function of(starts, number) {
    if (fresh.has(number)) return fresh.get(number);
    let piece = starts.length - 1;
    while (piece > 0 && starts[piece] > number) piece--;
    if (!pieces.has(piece)) pieces.set(piece, inflate(`texts-${piece}`));
    return (await pieces.get(piece))[number - starts[piece]];
  }

  return { inflate, of, fresh };
})();
