"""What customers say: how they open each intent, what they answer, and how they react to what they were told.

The last ``HELD_OUT`` openings of each intent are used in the test split only.
"""

from __future__ import annotations

Lines = tuple[str, ...]

HELD_OUT = 2

OPENINGS: dict[str, Lines] = {
    "order_status": (
        "Where is my {product}?",
        "Could you tell me where my {product} is?",
        "I am waiting for my {product}. Where is it?",
        "Has my {product} been sent yet?",
        "I would like to know when my {product} will come.",
        "Can you check on my {product} for me?",
        "Is there any news about my {product}?",
        "I wonder what happened to my {product}.",
        "I am still waiting for my {product}. Is there any news?",
        "Could you check when my {product} will come?",
    ),
    "late_order": (
        "My {product} is late. What is going on?",
        "I should have had my {product} days ago.",
        "Why is my {product} not here yet?",
        "My {product} still has not come and I need it.",
        "I have been waiting for the {product} far too long.",
        "The {product} did not come on the day you told me.",
        "Nothing has come so far. Where is the {product}?",
        "You are late with my {product}.",
        "I am still waiting and the {product} is late.",
        "Why did the {product} not come on the day you told me?",
    ),
    "refund": (
        "I would like my money back for the {product}.",
        "Can I get a refund for the {product}?",
        "I do not like the {product} and want a refund.",
        "The {product} is not what I wanted. Please refund me.",
        "I want to return the {product} and get my money back.",
        "Could you refund the {product}?",
        "How do I get my money back for the {product}?",
        "The {product} is not for me. I want my money back.",
        "I do not want the {product}. Can I get my money back?",
        "Please refund me for the {product}.",
    ),
    "exchange": (
        "Can I swap my {product} for the {wish}?",
        "I would like the {wish} instead of the {product}.",
        "Could I exchange the {product} for the {wish}?",
        "I picked the wrong colour. I want the {wish}, not the {product}.",
        "I have the {product} but would rather have the {wish}.",
        "Is it possible to change the {product} for the {wish}?",
        "Please exchange the {product} for the {wish}.",
        "The {product} is fine, but I like the {wish} more. Can I swap it?",
        "I would rather have the {wish}. Can I swap the {product}?",
        "Could you change the {product} for the {wish}?",
    ),
    "damaged_item": (
        "My {product} came damaged.",
        "The {product} is broken.",
        "The {product} was damaged when I opened the box.",
        "I got the {product} today and it is broken.",
        "There is a big scratch on the {product}.",
        "My new {product} does not look new. It is damaged.",
        "The {product} has come in two pieces.",
        "I opened the box and the {product} was broken.",
        "My {product} came today and there is a scratch on it.",
        "I opened the box and there is a scratch on the {product}.",
    ),
    "warranty": (
        "How long is the warranty on my {product}?",
        "Does my {product} have a warranty?",
        "Is the {product} still under warranty?",
        "What about the warranty on the {product}?",
        "Could you tell me about the warranty on the {product}?",
        "I have a question about the warranty on my {product}.",
        "I need to know how long the warranty on the {product} runs.",
        "Is there a warranty on the {product} I bought?",
        "Could you tell me how long my {product} is under warranty?",
        "I would like to know about the warranty on my {product}.",
    ),
    "change_address": (
        "I have moved to {street}. Please send the {product} there.",
        "Please send my {product} to {street} instead.",
        "Can you change the address for my {product} to {street}?",
        "My new address is {street}. Can the {product} go there?",
        "I gave you the wrong address for the {product}. It is {street}.",
        "The {product} should go to {street}.",
        "Could the {product} be sent to {street}?",
        "I need the {product} at {street}, not at my old address.",
        "I have a new address, {street}. Please send the {product} there.",
        "Could you send the {product} to my new address, {street}?",
    ),
    "cancel": (
        "Please cancel my {product}.",
        "I want to cancel the {product}.",
        "I no longer need the {product}. Can you cancel it?",
        "Can I still cancel the {product}?",
        "I have changed my mind about the {product}. Please cancel it.",
        "Could you cancel the {product} for me?",
        "I ordered the {product} by mistake and want to cancel it.",
        "I found another one, so please cancel the {product}.",
        "I ordered the {product} but no longer need it. Please cancel it.",
        "Can you still cancel my {product}?",
    ),
    "invoice_copy": (
        "I need a copy of the invoice for my {product}.",
        "Could you send me the invoice for the {product}?",
        "I have lost the invoice for the {product}.",
        "Where do I find the invoice for my {product}?",
        "Can I have the invoice for the {product} again?",
        "There was no invoice with the {product}.",
        "My office needs the invoice for the {product}.",
        "Please send me an invoice for the {product}.",
        "Could I have a copy of the invoice for the {product}?",
        "I need the invoice for my {product} again.",
    ),
    "discount": (
        "{competitor} sells the {item} for less. Can you match that?",
        "I saw the {item} at {competitor} and it is cheaper there.",
        "Why is the {item} cheaper at {competitor}?",
        "The {item} costs less at {competitor}. Can I get a better price?",
        "Can you do a better price for the {item}? {competitor} is cheaper.",
        "At {competitor} the {item} is a lot cheaper. Is there a discount?",
        "I like the {item}, but {competitor} has a lower price.",
        "Could I get a discount on the {item}? It costs less at {competitor}.",
        "{competitor} has a lower price for the {item}. Can you match it?",
        "Is there a discount on the {item}? I saw it for less at {competitor}.",
    ),
    "stock": (
        "Do you have the {item} in stock?",
        "Is the {item} available?",
        "Can I still get the {item}?",
        "I am looking for the {item}. Do you have it?",
        "I would like to buy the {item}. Is it available?",
        "Is the {item} sold out?",
        "Do you still sell the {item}?",
        "I am thinking about the {item}. Do you have it in stock?",
        "I would like the {item}. Can I still get it?",
        "I am looking for the {item}. Is it in stock?",
    ),
    "price": (
        "How much is the {item}?",
        "What does the {item} cost?",
        "What is the price of the {item}?",
        "Could you tell me the price of the {item}?",
        "I am looking at the {item}. How much is it?",
        "How much do you want for the {item}?",
        "I like the {item}. What does it cost?",
        "I would like to know the price of the {item}.",
        "I would like the {item}. How much is it?",
        "Could you tell me what the {item} costs?",
    ),
    "delivery_options": (
        "How long does delivery of the {item} take?",
        "If I order the {item}, when do I get it?",
        "What does it cost to have the {item} sent to me?",
        "How do you send the {item}, and what does it cost?",
        "Could you tell me about delivery for the {item}?",
        "I want to order the {item}. How long does it take?",
        "How fast can I have the {item}?",
        "What kinds of delivery do you have for the {item}?",
        "I want the {item}. How fast is delivery?",
        "Could you tell me how fast delivery of the {item} is?",
    ),
    "allergy_question": (
        "I have an allergy. Is the {item} safe for me?",
        "Can I use the {item} with an allergy to {note}?",
        "My son has an allergy to {note}. Is the {item} safe?",
        "Is the {item} safe for people with an allergy?",
        "I am worried about the {item}, I have an allergy to {note}.",
        "Could the {item} be bad for my skin? I have an allergy.",
        "My daughter has an allergy. Can she use the {item}?",
        "Do I have to worry about the {item} with my allergy?",
        "Is the {item} safe with my allergy?",
        "Is the {item} bad for people with an allergy to {note}?",
    ),
}

WITH_NUMBER = (
    " My order number is {order}.",
    " It is order {order}.",
    " The order number is {order}.",
    " That is order number {order}.",
)
NO_EXCHANGE = (" I do not want another one.", " Please no exchange.", " I do not need a different one.")
WITH_PHOTO = (" I have sent you a photo.", " The photo is in my message.", " Here is a photo of it.")
WITH_POSTCODE = (" My postcode is {postcode}.", " The postcode you have is {postcode}.")
SURE = (" I am quite sure.", " Yes, I am sure.", " I have made up my mind.")
FORESTALLING: dict[str, Lines] = {
    "order": WITH_NUMBER,
    "exchange": NO_EXCHANGE,
    "photo": WITH_PHOTO,
    "postcode": WITH_POSTCODE,
    "confirm": SURE,
}
"""What a customer adds to an opening so that nobody needs to ask."""

ANSWERS: dict[str, Lines] = {
    "order": (
        "It is {order}.",
        "My order number is {order}.",
        "Sure, it is {order}.",
        "The number is {order}.",
    ),
    "exchange": (
        "No, I would rather have my money back.",
        "No thank you, just the refund.",
        "I do not want another one.",
        "That is kind, but I want a refund.",
    ),
    "photo": (
        "I have just sent it.",
        "Here is the photo.",
        "You should have the photo now.",
        "Yes, here it is.",
    ),
    "postcode": (
        "It is {postcode}.",
        "My postcode is {postcode}.",
        "Sure, {postcode}.",
        "The postcode is {postcode}.",
    ),
    "confirm": ("Yes, please cancel it.", "Yes, I am sure.", "I am sure.", "Yes, go ahead."),
}
ACCEPT_EXCHANGE = (
    "Good idea. I would take the {wish}.",
    "All right, then the {wish} please.",
    "Yes, could I have the {wish}?",
)

FOLLOW_UPS: dict[str, Lines] = {
    "refund_time": (
        "How long does the refund take?",
        "When will I have the money?",
        "How many days does that take?",
        "And when do I get my money?",
    ),
    "vent": (
        "I am not happy about this.",
        "That is really annoying.",
        "I needed it this week.",
        "This should not happen.",
    ),
    "confirmation": (
        "Will I get a confirmation?",
        "How will I know that it worked?",
        "Will you let me know when it is done?",
        "Do I get that in writing?",
    ),
}
FOLLOWED_BY: dict[str, tuple[tuple[str, float], ...]] = {
    "refund": (("refund_time", 0.35), ("confirmation", 0.15)),
    "cancel": (("refund_time", 0.3), ("confirmation", 0.2)),
    "late": (("vent", 0.4),),
    "replace": (("confirmation", 0.3),),
    "address": (("confirmation", 0.35),),
    "exchange": (("confirmation", 0.2),),
}
"""Act -> (follow-up, how often)."""

REACTIONS: dict[str, Lines] = {
    "date": ("{due} is fine.", "{due} works for me.", "Good, then I will be home on {due}."),
    "no_date": (
        "All right, I will wait.",
        "I had hoped for a day, but all right.",
        "Good to know that it is coming.",
    ),
    "store_credit": ("Store credit is fine.", "All right, I will find something else to buy."),
    "to_card": ("Good, that is the right card.", "My card is fine."),
    "discount": ("{rate} percent sounds good.", "That is a fair offer.", "I will take that."),
    "no_discount": ("That is a pity.", "I will think about it.", "Too bad."),
    "express": ("Express sounds good.", "I think standard is enough."),
    "invoice_mail": ("By e-mail is perfect.", "I will look at my e-mail."),
    "invoice_post": ("By post is fine.", "I will wait for the post."),
    "warranty_team": ("I will ask them.", "All right, I will talk to them."),
    "warranty_answer": ("{years} years is good.", "That is longer than I thought."),
    "doctor": ("I will ask my doctor.", "All right, I will ask first."),
    "label": ("Good to know about the {note}.", "Then I have to be careful."),
    "price": ("That is a fair price.", "I will think about it."),
    "stock": ("Good, I will order it.", "That is good news."),
    "": ("Great.", "Perfect.", "That is good.", "Good to know.", "All right."),
}
"""By the pole that was played, or the act."""

HELLOS = (
    "Hello.",
    "Hi.",
    "Hi there.",
    "Good morning.",
    "Hello, this is {first} {last}.",
    "Hi, {first} {last} here.",
)
NEXTS = ("One more thing.", "There is something else.", "And another thing.", "Now to something else.")
NEXT_QUESTIONS = (*NEXTS, "I also have a question.", "Can I ask something else?", "Another question.")
FAREWELLS = (
    "Thank you, that is all.", "Thanks, that was all I needed.", "No more questions, thank you.",
    "Thanks for your help.", "Thank you, bye.", "That is all for today, thanks.",
)  # fmt: skip
THANKING = ("Thanks.", "Thank you.", "Thank you very much.")
