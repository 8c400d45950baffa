"""Text that no chat template wraps -> token paths: what was written, the response, EOS."""

from __future__ import annotations

from typing import Any

import numpy as np

from halign.dialogue import Dialogue, Message
from halign.encoding import Encoder
from halign.items import Ids, Path
from halign.spans import joined, prefixed, segments, with_a_prompt


class PlainText:
    """Encodes plain text with a tokenizer."""

    def __init__(self, tokenizer: Any, encoder: Encoder) -> None:
        self.tokenizer, self.encoder = tokenizer, encoder

    def prompt(self, dialogue: Dialogue, prefix: str) -> Ids:
        """The text, and the words that a response is made to begin with."""
        text = self._text(dialogue)
        return np.concatenate([text, self.encoder.encode_continuation(prefix)]) if prefix else text

    def path(self, dialogue: Dialogue, response: Message, prefix: str) -> Path:
        """The response after the text. The prefix goes before what answers a prompt, not before a text of its own."""
        continues = bool(dialogue.messages)
        if continues:
            response = prefixed(response, prefix)
        text = response.content
        spans = ((0, len(text)),) if response.learn is None else response.learn
        pieces = segments(text, slice(0, len(text)), text, spans)
        on = self.encoder.encode_continuation
        path = joined(
            self._text(dialogue), pieces, on, on if continues or len(pieces) > 1 else self.encoder.encode
        )
        return with_a_prompt(self._ended(path, learnt=bool(spans) and spans[-1][1] == len(text)))

    def _text(self, dialogue: Dialogue) -> Ids:
        """Text as the tokenizer takes it, with the BOS it adds and without the EOS that some add."""
        text = "".join(m.content for m in dialogue.messages)
        ids = np.asarray(self.tokenizer(text)["input_ids"], dtype=np.int32)
        return ids[:-1] if len(ids) and ids[-1] == self.tokenizer.eos_token_id else ids

    def _ended(self, path: Path, learnt: bool) -> Path:
        """The path with EOS at its end."""
        eos = self.tokenizer.eos_token_id
        if eos is None:
            return path
        mask = path.loss_mask
        if mask is not None or not learnt:
            mask = np.append(np.ones(len(path.response), dtype=bool) if mask is None else mask, learnt)
        return Path(path.prompt, np.append(path.response, np.int32(eos)), mask)
