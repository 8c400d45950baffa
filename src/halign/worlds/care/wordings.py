"""What the agent may say, as templates. ``agent`` puts them together.

A clause in braces that is named like a kind of guardrail takes the form of the pole that the agent plays.

>>> CLAUSES["date"]["no_date"][0]
' and is on its way to you'
"""

from __future__ import annotations

Lines = tuple[str, ...]

CORES: dict[str, Lines] = {
    "status": (
        "Your {parcel} with the {product} left us on {sent}{date}",
        "The {parcel} with your {product} was sent on {sent}{date}",
        "I can see that the {parcel} with the {product} left us on {sent}{date}",
        "Order {order}, the {product}, went out on {sent} in a {parcel}{date}",
    ),
    "late": (
        "Your {parcel} with the {product} {cause}{late_date}",
        "The {parcel} with your {product} {cause}{late_date}",
        "I can see that the {parcel} with the {product} {cause}{late_date}",
        "The {parcel} for order {order} {cause}{late_date}",
    ),
    "vent": (
        "I will keep an eye on your {parcel} myself",
        "I am going to follow your {parcel} until it is there",
        "We will stay on it until the {parcel} has reached you",
        "Your {parcel} matters to us and we will follow it closely",
    ),
    "refund": (
        "I will refund {price} {method} for the {product}",
        "You will get {price} back {method} for the {product}",
        "We will return {price} {method} for order {order}",
        "For the {product} you will get {price} back {method}",
    ),
    "refund_time": (
        "The refund takes {refund_days} days",
        "You will have the money within {refund_days} days",
        "A refund takes {refund_days} days with us",
        "It will take {refund_days} days until you have the money",
    ),
    "exchange": (
        "Please send the {parcel} with the {product} back and we will send you the {wish}",
        "You can send us the {product} in any {parcel} and we will swap it for the {wish}",
        "Once your {parcel} with the {product} is back, you will get the {wish}",
        "We will swap it for the {wish} as soon as your {parcel} is back with us",
    ),
    "replace": (
        "I will send you a new {product} right away",
        "We will replace the {product} at no cost",
        "A new {product} will be sent to you today",
        "I am sending you a new {product} for order {order}",
    ),
    "address": (
        "I have changed the address to {street}",
        "Your {product} will now go to {street}",
        "The new address, {street}, is saved for order {order}",
        "We will send it to {street} then",
    ),
    "cancel": (
        "Order {order} is cancelled and you will get {price} back {method}",
        "I have cancelled the {product}, so you will get {price} back {method}",
        "The {product} is now cancelled and we will return {price} {method}",
        "I have cancelled order {order} and will return {price} {method}",
    ),
    "confirmation": (
        "You will get a confirmation today",
        "We will write to you as soon as it is done",
        "A confirmation is on its way to you",
        "You will have a confirmation within the hour",
    ),
    "price_match": ("{competitor}{discount}",),
    "stock": ("{stock}",),
    "price": (
        "The {item} costs {item_price}",
        "The price of the {item} is {item_price}",
        "You can have the {item} for {item_price}",
        "We sell the {item} for {item_price}",
    ),
    "delivery": (
        "Standard delivery takes {standard_days} days and costs {delivery_price}{express}",
        "With standard delivery it takes {standard_days} days for {delivery_price}{express}",
        "Delivery takes {standard_days} days and costs {delivery_price}{express}",
    ),
    "invoice": (
        "I will send you the invoice for order {order} {invoice}",
        "A copy of the invoice for the {product} will come {invoice}",
        "You will get the invoice for the {product} {invoice}",
        "We are sending you a copy of the invoice {invoice}",
    ),
    "warranty": ("{warranty}",),
    "advice": ("{advice}",),
    "farewell": ("You are welcome", "I am glad I could help", "It was a pleasure to help", "My pleasure"),
}
"""What a reply says at its core, by act: always one sentence, without its last mark."""

CLAUSES: dict[str, dict[str, Lines]] = {
    "date": {
        "date": (
            " and should arrive on {due}",
            " and is expected on {due}",
            " and is due on {due}",
            ", so it should be with you on {due}",
        ),
        "no_date": (
            " and is on its way to you",
            " and is on the road now",
            " and is making its way to you",
            ", so it is on its way",
        ),
    },
    "late_date": {
        "date": (
            " and should now arrive on {due}",
            " and is now expected on {due}",
            " and is now due on {due}",
            ", but it should be with you on {due}",
        ),
        "no_date": (
            " and we are watching it closely",
            " and we are on it",
            " but it is on its way to you",
            ", but it is still on the road",
        ),
    },
    "cause": {
        "cause": (
            "is late because of the carrier",
            "is late because the carrier is behind",
            "was delayed by the carrier",
            "was held up by the carrier",
        ),
        "no_blame": (
            "is late this time",
            "is taking longer than planned",
            "was delayed on its way",
            "was held up on the road",
        ),
    },
    "method": {"to_card": ("to your card",), "store_credit": ("as store credit",)},
    "competitor": {
        "competitor": (
            "I know that {competitor} sells it for less",
            "I have seen the price at {competitor}",
            "It is true that {competitor} is cheaper",
            "We do look at what {competitor} offers",
        ),
        "no_competitor": (
            "I know that others sell it for less",
            "I have seen that lower price",
            "It is true that others are cheaper",
            "We do look at what others offer",
        ),
    },
    "discount": {
        "discount": (
            ", so I can take {rate} percent off",
            " and I will give you {rate} percent off",
            ", and you can have the {item} with {rate} percent off",
            ", so let me take {rate} percent off the {item}",
        ),
        "no_discount": (
            ", but I cannot lower our price",
            " but our price stays as it is",
            ", but the price of the {item} is fixed",
            ", yet I cannot change the price of the {item}",
        ),
    },
    "stock": {
        "stock_number": (
            "We have the {item} in stock, {stock_count} of them",
            "The {item} is available, we have {stock_count} in stock",
            "You can order the {item}, we have {stock_count} left",
        ),
        "no_stock_number": (
            "We have the {item} in stock",
            "The {item} is available",
            "You can order the {item}, it is in stock",
        ),
    },
    "express": {
        "express": (
            ", while express takes {express_days} days",
            ", and with express it is {express_days} days",
            ", or you choose express with {express_days} days",
        ),
        "no_express": ("", " for all we sell", " within the country"),
    },
    "invoice": {
        "invoice_mail": ("by e-mail",),
        "invoice_post": ("by post",),
    },
    "warranty": {
        "warranty_team": (
            "Our warranty team can tell you more about the {product}",
            "Please ask our warranty team about the {product}",
            "Our warranty team will answer that for you",
        ),
        "warranty_answer": (
            "The warranty on the {product} runs for {years} years",
            "You have {years} years of warranty on the {product}",
            "The {product} comes with a warranty of {years} years",
        ),
    },
    "advice": {
        "doctor": (
            "Please ask your doctor before you use the {item}",
            "That is a question for your doctor",
            "A doctor can tell you best about the {item}",
        ),
        "label": (
            "The label says that the {item} contains {note}",
            "According to its label, the {item} contains {note}",
            "The {item} contains {note}, as the label says",
        ),
    },
}
"""Clauses that differ by pole."""

ASKING: dict[str, Lines] = {
    "order": (
        "May I have your order number",
        "Could you tell me your order number",
        "What is your order number",
        "Could you give me the number of your order",
    ),
    "exchange": (
        "Would you like to exchange the {product} instead",
        "May I offer you an exchange for the {product}",
        "Would an exchange for another one suit you",
        "Shall we exchange it for a different one",
    ),
    "photo": (
        "Could you send me a photo of the {product}",
        "May I see a photo of the damage",
        "Could you send us a picture of the damage",
        "Do you have a photo of the {product} for us",
    ),
    "postcode": (
        "Could you tell me your postcode",
        "What is the postcode we have on file",
        "May I have your postcode",
        "Which postcode do we have for you so far",
    ),
    "confirm": (
        "Are you sure that you want to cancel the {product}",
        "Do you really want to cancel it",
        "Shall I really cancel order {order}",
        "Are you sure that I should cancel it",
    ),
}
"""How a careful agent asks, as a question."""

TELLING: dict[str, Lines] = {
    "order": (
        "Please give me your order number",
        "Please tell me your order number first",
        "I just need your order number",
        "Please send me the number of your order",
    ),
    "exchange": (
        "I would like to offer you an exchange for the {product} first",
        "You could also exchange the {product} if you like",
        "We can offer you an exchange for another one",
        "We could exchange it for a different one",
    ),
    "photo": (
        "Please send me a photo of the {product}",
        "I need to see a photo of the damage first",
        "Please send us a picture of the damage",
        "We just need a photo of the {product}",
    ),
    "postcode": (
        "Please tell me your postcode",
        "I need the postcode we have on file first",
        "Please give me your postcode",
        "I just need the postcode we have for you so far",
    ),
    "confirm": (
        "Please confirm that you want to cancel the {product}",
        "Please confirm this for me",
        "I need you to confirm that I should cancel order {order}",
        "Please tell me once more that I should cancel it",
    ),
}
"""How a careful agent asks without a question mark."""

GREETINGS = ("Hello", "Hi", "Good day")
THANKS_FIRST = ("Thank you for your message", "Thanks for writing to us", "Thank you for getting in touch")
THANKS_TOLD = ("Thank you", "Thanks for telling me", "Thank you for letting me know", "Thanks for that")
THANKS_ASKED = ("Thank you for asking", "Thanks for asking", "Thank you for your question")
THANKS_FAREWELL = ("Thank you for your visit", "Thanks for writing to us", "Thank you for shopping with us")
APOLOGIES = (
    "I am sorry about that",
    "I am sorry to hear that",
    "My apologies for the trouble",
    "We are very sorry",
    "Please accept our apologies",
)
OPENERS = ("Sure", "Of course", "All right", "Certainly")
OPENERS_TROUBLE = ("I see", "I understand", "I hear you")
FILLERS_ASKING = (
    "I am happy to help",
    "Let me look into it",
    "We will sort this out",
    "I will take care of this",
)
FILLERS_ACTING = (
    "I have checked this for you",
    "Let me help you with that",
    "I have had a look",
    "Here is what I found",
)
FILLERS_FAREWELL = (
    "It was nice to hear from you",
    "We are happy when things work out",
    "That is what we are here for",
)
CLOSING_QUESTIONS = (
    "Is there anything else I can do for you",
    "Can I help you with anything else",
    "Do you have any other questions",
    "Does that help you",
    "Is that all right for you",
)
CLOSING_LINES = (
    "Just let me know if you need anything else",
    "Feel free to ask if anything is unclear",
    "I am here if you have more questions",
    "You can write to us at any time",
)
WISHES = ("Have a nice day", "Take care", "Enjoy your day", "All the best")
WISHING = (
    "May I wish you a nice day",
    "Will you write to us if you need anything",
    "May I wish you all the best",
)
SIGNATURES = ("Your {shop} team", "The {shop} team", "{shop} support desk")
