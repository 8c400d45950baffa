"""Tasks in a model's words: what it wrote taken apart, and what is left out of it (self-instruct, Wang et al. 2023,
arXiv 2212.10560; the rules are those of its code, ``bootstrap_instructions.py`` and ``prepare_for_finetuning.py``).

Two small departures: only the first letter is made a capital (the code makes all others small: "write to mr. Smith"), and of
a reply that was cut off only its last instruction is lost.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import NamedTuple

FORBIDDEN = (
    *("image", "images", "graph", "graphs", "picture", "pictures", "file", "files"),
    *("map", "maps", "draw", "plot", "go to"),
)
"""Words of tasks that a model of text cannot do."""
MOST_INSTANCES = 5
_FORBIDDEN = re.compile(rf"\b({'|'.join(FORBIDDEN)})\b", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:^|\n)\s*(\d+)\s?\.(?=\s)")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_OUTPUT, _INPUT = re.compile(r"Output\s*\d*\s*:"), re.compile(r"Input\s*\d*\s*:")
_EXAMPLE = re.compile(r"(?:^|\n)\s*Example\s?\d*\s*[.:]?[ \t]*(?=\n|Input|Output|$)")

SHORT, LONG, FORBIDDEN_WORD = (
    "instruction of 3 words or fewer",
    "instruction of more than 150 words",
    "forbidden word",
)
PROGRAM, PUNCTUATION, NOT_ASCII = (
    "asks to write a program",
    "starts with punctuation",
    "starts with no ASCII letter",
)
NO_OUTPUT, ECHO, COLON = (
    "instance without an output",
    "instance whose output is its input",
    "instance that ends in a colon",
)
CONFLICT, REPEATED = "instances with one input and several outputs", "repeated instance"
CUT = "last of a reply that was cut off"


class Instance(NamedTuple):
    """One example of a task; the input may be empty."""

    input: str
    output: str


def instructions_in(text: str, finished: bool = True, first: int = 1) -> list[str]:
    """The instructions of a numbered list that a model went on with; of a list that was cut off all but the last.

    Args:
        first: number of the list's next item. Words before an item of this or a lower number are a preface ("Here are more:");
            before a higher one they are the item itself, whose number stood in what the model was shown. What follows an item
            after a blank line is none of it ("Shall I go on?").

    >>> instructions_in(" name three rivers.\\n10. Sort the\\n numbers. \\n11. Wri", finished=False, first=9)
    ['Name three rivers.', 'Sort the numbers.']
    >>> instructions_in("Sure! Here they are:\\n\\n9. Name three rivers.\\n\\n10. Sort them.", first=9)
    ['Name three rivers.', 'Sort them.']
    """
    numbered = _NUMBERED.search(text)
    if numbered and int(numbered[1]) <= first:
        text = text[numbered.start() :]
    parts = _NUMBERED.split(text)[:: _NUMBERED.groups + 1]
    found = [" ".join(_BLANK_LINE.split(part.strip())[0].split()) for part in parts]
    whole = [f for f in found if f]
    return [one[:1].upper() + one[1:] for one in (whole if finished else whole[:-1])]


def unfit(instruction: str) -> str:
    """Why an instruction is left out; '' if it is not.

    >>> unfit("Draw a cat on a mat"), unfit("Tell me a story about a cat.")
    ('forbidden word', '')
    """
    words = len(instruction.split())
    if words <= 3:
        return SHORT
    if words > 150:
        return LONG
    if _FORBIDDEN.search(instruction):
        return FORBIDDEN_WORD
    if instruction.lower().startswith("write a program"):
        return PROGRAM
    if instruction[0] in string.punctuation:
        return PUNCTUATION
    return "" if instruction[0].isascii() else NOT_ASCII


def instances_of_classes(text: str, finished: bool = True) -> list[Instance]:
    """Instances that were written output first: "Class label: L", and below it the input that has this label.

    >>> instances_of_classes("Class label: Spam\\nBuy now!\\nClass label: Fine\\nSee you at ten.")
    [Instance(input='Buy now!', output='Spam'), Instance(input='See you at ten.', output='Fine')]
    """
    found = []
    for part in text.split("Class label:")[1:]:
        label, _, rest = part.strip().partition("\n")
        found.append(Instance(rest.strip(), label.strip()))
    return found if finished else found[:-1]


def instances_of_inputs(text: str, finished: bool = True) -> list[Instance]:
    """Instances that were written input first: "Input: ..." and "Output: ...", several of them under "Example 1", "Example 2" ...
    What has neither headings nor an output is none, as in the code.

    >>> instances_of_inputs("Example 1\\nInput: 2 3\\nOutput: 5\\nExample 2\\nOutput: 7")
    [Instance(input='2 3', output='5'), Instance(input='', output='7')]
    """
    parts = _EXAMPLE.split(text.strip())
    if len(parts) == 1 and not _OUTPUT.search(text):
        return []
    found = [_input_and_output(part.strip()) for part in parts if part.strip()]
    return found if finished else found[:-1]


def _input_and_output(text: str) -> Instance:
    before, *after = _OUTPUT.split(text)
    if not after:
        return Instance("", text)
    output = _INPUT.split(after[0])[
        0
    ].strip()  # a second input begins another instance, without its own heading
    return Instance(re.sub(rf"^{_INPUT.pattern}", "", before.strip()).strip(), output)


def fit_instances(instances: Sequence[Instance]) -> tuple[list[Instance], list[str]]:
    """(those that are kept, in order; why each of the others is not).

    A task one of whose inputs has two outputs loses all its instances: it is not clear what it asks for.

    >>> fit_instances([Instance("2 3", "5"), Instance("4", "4"), Instance("2 3", "5")])
    ([Instance(input='2 3', output='5')], ['instance whose output is its input', 'repeated instance'])
    """
    kept: list[Instance] = []
    whys = []
    for one in instances:
        why = _unfit_instance(one) or (REPEATED if one in kept else "")
        if why:
            whys.append(why)
        else:
            kept.append(one)
    inputs = [one.input for one in kept if one.input]
    if len(set(inputs)) < len(inputs):
        return [], [*whys, *[CONFLICT] * len(kept)]
    return kept, whys


def _unfit_instance(one: Instance) -> str:
    if not one.output:
        return NO_OUTPUT
    if one.input == one.output:
        return ECHO
    return COLON if one.input.endswith(":") or one.output.endswith(":") else ""
