"""What is true in one conversation: the shop, the customer, the orders, the goods and the shop's policies.

Every split knows the same words, but not the same combinations: a colour with a noun, a first name with a
last name, the digits of an order number, belong to one of train, validation and test. So nothing in a test
prompt can be answered from memory, and nothing asks a model to copy a word it has never read.

>>> import random
>>> facts = draw_facts(random.Random(1), "train", statuses=("sent",), consumable=False)
>>> Facts.of(facts.to_dict()) == facts
True
>>> set(NUMBERS["train"]) & set(NUMBERS["test"])
set()
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import product as combinations
from typing import Any, Literal

Split = Literal["pretrain", "train", "validation", "test"]

COLOURS = ("red", "blue", "green", "black", "white", "grey", "brown", "yellow", "pink", "purple")
GOODS = (
    "lamp", "chair", "backpack", "jacket", "kettle", "mug", "scarf", "blanket", "teapot", "clock", "rug",
    "mirror", "radio", "camera", "pillow", "vase", "basket", "wallet", "table", "tent", "coat", "bowl",
    "toaster", "suitcase",
)  # fmt: skip
CONSUMABLES = ("soap", "candle", "shampoo", "lotion", "balm", "cream")
NOUNS = GOODS + CONSUMABLES
NOTES = ("nuts", "milk", "soy", "wheat", "honey", "lavender")
WOMEN = ("Anna", "Clara", "Emma", "Helen", "Karen", "Maria", "Nina", "Olivia", "Rosa", "Sara", "Tina", "Vera")
MEN = ("Adam", "Ben", "David", "Felix", "Henry", "Jacob", "Leo", "Martin", "Noah", "Oscar", "Paul", "Simon")
LASTS = (
    "Reed", "Baker", "Carter", "Moss", "Ward", "Cole", "Brooks", "Hayes", "Perry", "Shaw", "Webb", "Kerr",
    "Nash", "Frost", "Blake", "Quinn", "Turner", "Walsh", "Foster", "Lang", "Meyer", "Novak", "Silva",
    "Tanaka",
)  # fmt: skip
SHOP_FIRST = ("Silver", "Golden", "Bright", "Northern", "Little", "Royal", "Happy", "Open")
SHOP_SECOND = ("Harbor", "Garden", "Corner", "Bridge", "Meadow", "Lantern", "River", "Castle")
COMPETITORS = ("Northmart", "Cityshop", "Webway", "Homeland", "Buyline", "Sunstore", "Marketa", "Pricebay")
TREES = ("Oak", "Elm", "Maple", "Cedar", "Willow", "Birch", "Pine", "Chestnut")
WAYS = ("Street", "Road", "Avenue", "Lane")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
RATES = (5, 10, 15, 20)


def split_of(key: str) -> Split:
    """Which split a combination belongs to: a quarter test, an eighth validation, the rest train."""
    part = zlib.crc32(key.encode()) % 8
    return "test" if part < 2 else "validation" if part == 2 else "train"


def _by_split(values: Iterable[Any]) -> dict[Split, tuple[Any, ...]]:
    parts: dict[Split, list[Any]] = {"train": [], "validation": [], "test": []}
    for value in values:
        parts[split_of(str(value))].append(value)
    pools: dict[Split, tuple[Any, ...]] = {split: tuple(part) for split, part in parts.items()}
    return pools | {"pretrain": pools["train"]}


PRODUCTS = _by_split(f"{c} {n}" for c, n in combinations(COLOURS, GOODS))
CARE_PRODUCTS = _by_split(f"{c} {n}" for c, n in combinations(COLOURS, CONSUMABLES))
CUSTOMERS = _by_split(
    (title, first, last)
    for title, firsts in (("Ms", WOMEN), ("Mr", MEN))
    for first, last in combinations(firsts, LASTS)
)
SHOPS = _by_split(f"{a} {b}" for a, b in combinations(SHOP_FIRST, SHOP_SECOND))
NUMBERS = _by_split(n for n in range(1000, 10000) if len(set(str(n))) == 4)
"""Order numbers and postcodes: four distinct digits, split by their digits."""
STREETS = _by_split(f"{n} {tree} {way}" for n, tree, way in combinations(range(12, 98, 5), TREES, WAYS))
_SAME_NOUN: dict[Split, dict[str, list[str]]] = {
    split: {noun: [p for p in pool if p.endswith(f" {noun}")] for noun in GOODS}
    for split, pool in PRODUCTS.items()
}

Status = Literal["sent", "late", "open", "delivered"]


@dataclass(frozen=True, slots=True)
class Order:
    """One order of the customer's. Prices are whole dollars; days are weekdays.

    Attributes:
        wish: the same thing in another colour, which the customer may want; the screen does not show it.
    """

    number: int
    product: str
    price: int
    status: Status
    sent: str
    due: str
    wish: str

    @property
    def line(self) -> str:
        """The order as the desk's screen shows it."""
        state = {
            "sent": f"sent on {self.sent}, due on {self.due}",
            "late": f"late because of the carrier, now due on {self.due}",
            "open": "not sent yet",
            "delivered": f"delivered on {self.sent}",
        }[self.status]
        return f"Order {self.number}: {self.product}, price {self.price}, {state}."


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is true in one conversation.

    Attributes:
        product, price, stock, note: what is for sale; ``note`` is on its label.
        street, competitor: what the customer brings up; not in the system message.
        shown: names of the policies that the system message states (see ``POLICIES``).
    """

    shop: str
    title: str
    first: str
    last: str
    postcode: int
    orders: tuple[Order, ...]
    product: str
    price: int
    stock: int
    note: str
    rate: int
    years: int
    refund_days: int
    standard_days: int
    delivery_price: int
    express_days: int
    street: str
    competitor: str
    shown: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and numbers, fit for JSON."""
        return asdict(self) | {"orders": [asdict(o) for o in self.orders], "shown": list(self.shown)}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Facts:
        """Facts from what ``to_dict`` made."""
        orders = tuple(Order(**o) for o in value["orders"])
        return cls(**{**value, "orders": orders, "shown": tuple(value["shown"])})

    @property
    def system(self) -> str:
        """The system message, without the guardrails."""
        lines = [f"You write for the support desk of {self.shop}."]
        customer = f"The customer is {self.title} {self.first} {self.last}"
        lines.append(customer + (f", postcode {self.postcode}." if "postcode" in self.shown else "."))
        lines += [order.line for order in self.orders]
        lines += [POLICIES[name](self) for name in self.shown if name != "postcode"]
        return " ".join(lines)


POLICIES = {
    "item": lambda f: f"For sale: {f.product}, price {f.price}, {f.stock} in stock.",
    "note": lambda f: f"Label of the {f.product}: contains {f.note}.",
    "rate": lambda f: f"Goodwill discount: {f.rate} percent.",
    "delivery": lambda f: (
        f"Standard delivery: {f.standard_days} days, price {f.delivery_price}. "
        f"Express: {f.express_days} days."
    ),
    "refunds": lambda f: f"Refunds take {f.refund_days} days.",
    "warranty": lambda f: f"Warranty: {f.years} years.",
}
"""Short sentences that a system message may hold besides the orders."""


def draw_facts(rng: random.Random, split: Split, statuses: tuple[Status, ...], consumable: bool) -> Facts:
    """Facts for one conversation, with one order per status given."""
    choice = rng.choice
    title, first, last = choice(CUSTOMERS[split])
    products = rng.sample(PRODUCTS[split], len(statuses) + 1)
    numbers = rng.sample(NUMBERS[split], len(statuses) + 1)
    orders: list[Order] = []
    for status, name, number in zip(statuses, products, numbers, strict=False):
        sent = rng.randrange(7)
        due = (sent + 1 + rng.randrange(5)) % 7
        wishes = [p for p in _SAME_NOUN[split][name.split()[1]] if p not in products] or [name]
        orders.append(
            Order(number, name, 12 + rng.randrange(87), status, DAYS[sent], DAYS[due], choice(wishes))
        )
    express = 1 + rng.randrange(2)
    return Facts(
        shop=choice(SHOPS[split]),
        title=title,
        first=first,
        last=last,
        postcode=numbers[-1],
        orders=tuple(orders),
        product=choice(CARE_PRODUCTS[split]) if consumable else products[-1],
        price=12 + rng.randrange(87),
        stock=12 + rng.randrange(87),
        note=choice(NOTES),
        rate=choice(RATES),
        years=2 + rng.randrange(4),
        refund_days=3 + rng.randrange(6),
        standard_days=4 + rng.randrange(5),
        delivery_price=3 + rng.randrange(7),
        express_days=express + 1,
        street=choice(STREETS[split]),
        competitor=choice(COMPETITORS),
    )
