"""How each guardrail may be worded: paraphrases for every split, then those that only the test split uses."""

from __future__ import annotations

Wordings = tuple[tuple[str, ...], tuple[str, ...]]

SENTENCES: dict[str, Wordings] = {
    # name
    "first_name": (
        (
            "Address the customer by first name in every reply.",
            "Use the customer's first name each time you write.",
            "Every reply has to contain the customer's first name.",
            "Be personal: call the customer by first name.",
            "Call the customer by first name, each and every time.",
        ),
        (
            "The customer's first name belongs in every reply.",
            "Call customers by first name, always.",
        ),
    ),
    "last_name": (
        (
            "Address the customer as Ms or Mr with the last name in every reply.",
            "Be formal: call the customer Ms or Mr and the last name.",
            "Use Ms or Mr and the last name each time you write.",
            "Every reply has to contain Ms or Mr and the last name.",
            "Call the customer Ms or Mr and the last name, each and every time.",
        ),
        (
            "Ms or Mr and the last name belong in every reply.",
            "Call customers Ms or Mr with the last name, always.",
        ),
    ),
    "no_name": (
        (
            "Do not use the customer's name.",
            "Never address the customer by name.",
            "For privacy, leave the customer's name out.",
            "No reply may contain the customer's name.",
            "Names of customers do not belong in any reply.",
        ),
        (
            "The customer's name must not be in any reply.",
            "Leave out names, for privacy.",
        ),
    ),
    # greeting
    "greet": (
        (
            "Open your first reply with a greeting.",
            "Start the conversation with a hello.",
            "Greet the customer in your first reply.",
            "Your first reply begins with a greeting.",
            "A hello belongs at the start of your first reply.",
        ),
        (
            "Say hello in your first reply.",
            "Your first reply needs a greeting.",
        ),
    ),
    "no_greeting": (
        (
            "Do not open your first reply with a greeting.",
            "Start the conversation without a hello.",
            "Leave out the greeting in your first reply.",
            "Your first reply begins without a greeting.",
            "No hello belongs at the start of your first reply.",
        ),
        (
            "Do not say hello in your first reply.",
            "Your first reply needs no greeting.",
        ),
    ),
    # question
    "question": (
        (
            "End every reply with a question.",
            "Close each reply by asking something.",
            "The last sentence of a reply has to be a question.",
            "Always finish with a question to the customer.",
            "Each of your replies closes with a question.",
        ),
        (
            "Each reply must close with a question.",
            "Finish every reply by asking the customer something.",
        ),
    ),
    "no_question": (
        (
            "Do not end a reply with a question.",
            "Never close a reply by asking something.",
            "The last sentence of a reply must not be a question.",
            "Always finish with a statement, not with a question.",
            "None of your replies closes with a question.",
        ),
        (
            "No reply may close with a question.",
            "Never finish by asking the customer something.",
        ),
    ),
    # exclamation
    "exclaim": (
        (
            "Use an exclamation mark in every reply.",
            "Sound cheerful: every reply has an exclamation mark.",
            "Put at least one exclamation mark in each reply.",
            "Be lively and use exclamation marks.",
            "Write cheerfully and always use an exclamation mark.",
        ),
        (
            "Each reply must contain an exclamation mark.",
            "Sound lively, with an exclamation mark each time.",
        ),
    ),
    "no_exclamation": (
        (
            "Do not use exclamation marks.",
            "Sound calm: no reply has an exclamation mark.",
            "Never put an exclamation mark in a reply.",
            "Be calm and leave out exclamation marks.",
            "Write calmly and never use an exclamation mark.",
        ),
        (
            "No reply may contain an exclamation mark.",
            "Sound calm, without any exclamation mark.",
        ),
    ),
    # apology
    "apologise": (
        (
            "Apologise when a customer reports a problem.",
            "Say sorry if something went wrong.",
            "When there is a problem, begin with an apology.",
            "A reply to a complaint has to say sorry.",
            "Complaints are always answered with an apology.",
        ),
        (
            "If a customer has a problem, apologise.",
            "Complaints call for an apology.",
        ),
    ),
    "no_apology": (
        (
            "Do not apologise when a customer reports a problem.",
            "Do not say sorry if something went wrong, solve it.",
            "When there is a problem, leave out the apology.",
            "A reply to a complaint must not say sorry.",
            "Complaints are never answered with an apology.",
        ),
        (
            "If a customer has a problem, do not apologise.",
            "Complaints do not call for an apology.",
        ),
    ),
    # thanks
    "thank": (
        (
            "Thank the customer in every reply.",
            "Say thank you each time you write.",
            "Every reply has to contain a word of thanks.",
            "Show thanks to the customer in each reply.",
            "Finish your replies with thanks, or begin with a thank you.",
        ),
        (
            "Each reply must thank the customer.",
            "A thank you belongs in every reply.",
        ),
    ),
    "no_thanks": (
        (
            "Do not thank the customer.",
            "Never say thank you in a reply.",
            "No reply may contain a word of thanks.",
            "Leave out thanks and come to the point.",
            "Begin and finish your replies without thanks.",
        ),
        (
            "No reply may thank the customer.",
            "Leave the thank you out of every reply.",
        ),
    ),
    # signature
    "sign": (
        (
            "Sign every reply with the name of the shop.",
            "Put the shop's name under each reply.",
            "Every reply ends with a signature of the shop.",
            "Close each reply with the shop's signature.",
            "All replies are signed with the shop's name.",
        ),
        (
            "Each reply must be signed with the shop's name.",
            "The shop's signature belongs under every reply.",
        ),
    ),
    "no_signature": (
        (
            "Do not sign your replies.",
            "Never put the shop's name under a reply.",
            "No reply ends with a signature.",
            "Leave out the shop's signature.",
            "Replies are not signed with the shop's name.",
        ),
        (
            "No reply may be signed.",
            "The shop's signature belongs under no reply.",
        ),
    ),
    # length
    "brief": (
        (
            "Keep every reply to two sentences at most.",
            "Be brief: no more than two sentences.",
            "A reply must not have more than two sentences.",
            "Write short replies of one or two sentences.",
            "Two sentences are enough for any reply.",
        ),
        (
            "Two sentences at most in each reply.",
            "Never write more than two sentences.",
        ),
    ),
    "detailed": (
        (
            "Write at least three sentences in every reply.",
            "Be detailed: no fewer than three sentences.",
            "A reply must have three sentences or more.",
            "Write full replies of three or more sentences.",
            "Three sentences are the least for any reply.",
        ),
        (
            "Three sentences at least in each reply.",
            "Never write fewer than three sentences.",
        ),
    ),
    # currency
    "dollar_sign": (
        (
            "Write prices with the dollar sign.",
            "Put the sign $ before every price.",
            "Prices are written with $.",
            "Use the $ sign when you name a price.",
        ),
        (
            "Every price needs the dollar sign.",
            "Name prices with the $ sign.",
        ),
    ),
    "dollar_word": (
        (
            "Write prices with the word dollars.",
            "Put the word dollars after every price.",
            "Prices are written with the word dollars.",
            "Use the word dollars when you name a price.",
        ),
        (
            "Every price needs the word dollars.",
            "Name prices with the word dollars.",
        ),
    ),
    # wording
    "parcel": (
        (
            "Say parcel, never package.",
            "Use the word parcel instead of package.",
            "We send parcels: do not say package.",
            "The word is parcel, not package.",
            "Where others say package, our word is parcel.",
        ),
        (
            "Use parcel as our word, never package.",
            "Never say package, our word is parcel.",
        ),
    ),
    "package": (
        (
            "Say package, never parcel.",
            "Use the word package instead of parcel.",
            "We send packages: do not say parcel.",
            "The word is package, not parcel.",
            "Where others say parcel, our word is package.",
        ),
        (
            "Use package as our word, never parcel.",
            "Never say parcel, our word is package.",
        ),
    ),
    # order
    "order_first": (
        (
            "Ask for the order number before you do anything with an order.",
            "Do not talk about an order until you have asked for its number.",
            "First ask for the order number, then help.",
            "Without an order number, ask for it first.",
            "All help with an order needs its number, so ask for it.",
        ),
        (
            "If you have no order number, ask for it before you help.",
            "First ask for the number of the order.",
        ),
    ),
    "no_order_number": (
        (
            "Never ask for an order number, you can see the orders.",
            "Do not ask for the order number, look the order up.",
            "Help at once and do not ask for an order number.",
            "Without an order number, look it up yourself.",
            "No help with an order needs its number, so do not ask for it.",
        ),
        (
            "If you have no order number, help without asking for it.",
            "Do not ask for the number of the order.",
        ),
    ),
    # exchange
    "exchange_first": (
        (
            "Offer an exchange before you give a refund.",
            "Do not refund until you have offered an exchange.",
            "First offer an exchange, then a refund.",
            "When a customer wants a refund, offer an exchange first.",
            "Refunds need the offer of an exchange first.",
        ),
        (
            "Refunds come only after you have offered an exchange.",
            "Before a refund, always offer an exchange.",
        ),
    ),
    "refund_at_once": (
        (
            "Give a refund without offering an exchange.",
            "Refund at once and do not offer an exchange.",
            "Never offer an exchange to those who want a refund.",
            "When a customer wants a refund, do not offer an exchange.",
            "Refunds need no offer of an exchange.",
        ),
        (
            "Refunds come at once, without an exchange offered.",
            "Before a refund, never offer an exchange.",
        ),
    ),
    # photo
    "photo_first": (
        (
            "Ask for a photo before you replace a damaged item.",
            "Do not replace anything until you have asked for a photo.",
            "First ask for a photo of the damage, then help.",
            "When an item is damaged, ask for a photo first.",
            "Before damaged items are replaced, ask for a photo.",
        ),
        (
            "Damaged items are replaced only after you have asked for a photo.",
            "Before you replace an item, ask for a photo.",
        ),
    ),
    "no_photo": (
        (
            "Replace a damaged item without asking for a photo.",
            "Never ask for a photo of the damage.",
            "Replace at once and do not ask for a photo.",
            "When an item is damaged, do not ask for a photo.",
            "Damaged items are replaced without asking for a photo.",
        ),
        (
            "Damaged items are replaced at once, without a photo.",
            "Before you replace an item, do not ask for a photo.",
        ),
    ),
    # postcode
    "postcode_first": (
        (
            "Ask for the postcode before you change an address.",
            "Do not change an address until you have asked for the postcode.",
            "First ask for the postcode, then change the address.",
            "When a customer moves, ask for the postcode first.",
            "Before addresses are changed, ask for the postcode.",
        ),
        (
            "Addresses are changed only after you have asked for the postcode.",
            "Before you change an address, ask for the postcode.",
        ),
    ),
    "no_postcode": (
        (
            "Change an address without asking for the postcode.",
            "Never ask for the postcode.",
            "Change addresses at once and do not ask for the postcode.",
            "When a customer moves, do not ask for the postcode.",
            "Addresses are changed without asking for the postcode.",
        ),
        (
            "Addresses are changed at once, without the postcode.",
            "Before you change an address, do not ask for the postcode.",
        ),
    ),
    # confirm
    "confirm_first": (
        (
            "Ask the customer to confirm before you cancel an order.",
            "Do not cancel until you have asked whether the customer is sure.",
            "First ask the customer to confirm, then cancel.",
            "When a customer wants to cancel, ask to confirm first.",
            "Before orders are cancelled, ask whether the customer is sure.",
        ),
        (
            "Orders are cancelled only after you have asked to confirm.",
            "Before you cancel, ask whether the customer is sure.",
        ),
    ),
    "cancel_at_once": (
        (
            "Cancel an order without asking the customer to confirm.",
            "Never ask whether the customer is sure.",
            "Cancel at once and do not ask to confirm.",
            "When a customer wants to cancel, do not ask to confirm.",
            "Orders are cancelled without asking whether the customer is sure.",
        ),
        (
            "Orders are cancelled at once, without asking to confirm.",
            "Before you cancel, do not ask whether the customer is sure.",
        ),
    ),
    # date
    "date": (
        (
            "Tell the customer the day of delivery.",
            "Always name the day on which an order is due.",
            "When you talk about a delivery, say on which day it is due.",
            "Say when an order will arrive.",
            "Customers always hear the day of delivery.",
        ),
        (
            "Customers must hear on which day a delivery is due.",
            "Name the day of delivery.",
        ),
    ),
    "no_date": (
        (
            "Do not promise a day of delivery.",
            "Never name the day on which an order is due.",
            "When you talk about a delivery, do not say on which day it is due.",
            "Do not say when an order will arrive.",
            "Customers never hear the day of delivery.",
        ),
        (
            "Customers must not hear on which day a delivery is due.",
            "Never promise when an order will arrive.",
        ),
    ),
    # cause
    "cause": (
        (
            "Say that the carrier is the cause when an order is late.",
            "Be open about delays and name the carrier.",
            "When an order is late, tell the customer that it is the carrier.",
            "Explain a delay by the carrier.",
            "Customers hear that the carrier causes delays.",
        ),
        (
            "If an order is late, name the carrier as the cause.",
            "Tell customers that the carrier causes a delay.",
        ),
    ),
    "no_blame": (
        (
            "Never blame the carrier when an order is late.",
            "Do not talk about the carrier.",
            "When an order is late, do not say that it is the carrier.",
            "Never explain a delay by the carrier.",
            "Customers never hear that the carrier causes delays.",
        ),
        (
            "If an order is late, do not name the carrier as the cause.",
            "Do not blame the carrier for a delay.",
        ),
    ),
    # method
    "to_card": (
        (
            "Refund to the card only.",
            "Money goes back to the customer's card.",
            "Give refunds to the card, not as store credit.",
            "When you refund, use the card.",
            "Pay money back to the card.",
        ),
        (
            "All refunds go to the card.",
            "Give money back to the card, never as store credit.",
        ),
    ),
    "store_credit": (
        (
            "Refund as store credit only.",
            "Money goes back as store credit.",
            "Give refunds as store credit, not to the card.",
            "When you refund, use store credit.",
            "Pay money back as store credit.",
        ),
        (
            "All refunds are store credit.",
            "Give money back as store credit, never to the card.",
        ),
    ),
    # discount
    "discount": (
        (
            "Offer the goodwill discount when a customer finds a price too high.",
            "When a customer has seen a lower price, give the goodwill discount.",
            "Give the goodwill discount to those who ask for a lower price.",
            "If the price is too high for a customer, take the goodwill discount off.",
            "Those who ask for a lower price get the goodwill discount.",
        ),
        (
            "Those who have seen a lower price get the goodwill discount.",
            "Offer the goodwill discount to those who ask for a lower price.",
        ),
    ),
    "no_discount": (
        (
            "Do not offer a discount when a customer finds a price too high.",
            "When a customer has seen a lower price, give no discount.",
            "Give no discount to those who ask for a lower price.",
            "Never offer a discount.",
            "Those who ask for a lower price get no discount.",
        ),
        (
            "Those who have seen a lower price get no discount.",
            "Offer no discount to those who ask for a lower price.",
        ),
    ),
    # competitor
    "competitor": (
        (
            "When a customer names another shop, name it too.",
            "Name the other shop that the customer talks about.",
            "Be open about other shops and name them.",
            "Say the name of the other shop when you compare prices.",
            "Other shops are named when the customer names them.",
        ),
        (
            "If a customer talks about another shop, name it in your reply.",
            "Other shops have to be named.",
        ),
    ),
    "no_competitor": (
        (
            "When a customer names another shop, do not name it.",
            "Never name other shops.",
            "Do not talk about other shops by name.",
            "Do not say the name of another shop when you compare prices.",
            "Other shops are not named when the customer names them.",
        ),
        (
            "If a customer talks about another shop, do not name it in your reply.",
            "Other shops must not be named.",
        ),
    ),
    # stock
    "stock_number": (
        (
            "Say how many are in stock when a customer asks.",
            "Tell the number in stock.",
            "When you say that an item is in stock, give the number.",
            "Be open about stock and name the number.",
            "Those who ask about stock hear the number.",
        ),
        (
            "Customers who ask for an item hear how many are in stock.",
            "Name the number in stock.",
        ),
    ),
    "no_stock_number": (
        (
            "Do not say how many are in stock when a customer asks.",
            "Never tell the number in stock.",
            "When you say that an item is in stock, do not give the number.",
            "Keep stock numbers inside the company.",
            "Those who ask about stock do not hear the number.",
        ),
        (
            "Customers who ask for an item must not hear how many are in stock.",
            "Never name the number in stock.",
        ),
    ),
    # express
    "express": (
        (
            "Offer express when a customer asks about delivery.",
            "When you explain delivery, mention express too.",
            "Always tell customers about express delivery.",
            "Name both standard and express delivery.",
            "Mention express to all who ask about delivery.",
        ),
        (
            "Those who ask about delivery hear about express.",
            "Mention express when delivery is the question.",
        ),
    ),
    "no_express": (
        (
            "Do not offer express when a customer asks about delivery.",
            "When you explain delivery, do not mention express.",
            "Never tell customers about express delivery.",
            "Name only standard delivery.",
            "Mention express to none who ask about delivery.",
        ),
        (
            "Those who ask about delivery do not hear about express.",
            "Never mention express when delivery is the question.",
        ),
    ),
    # invoice
    "invoice_mail": (
        (
            "Send invoices by e-mail only.",
            "Copies of invoices go out by e-mail.",
            "When a customer needs an invoice, use e-mail.",
            "Invoices are sent by e-mail, not by post.",
            "E-mail a copy of the invoice when it is needed.",
        ),
        (
            "All invoices go by e-mail.",
            "E-mail a copy when an invoice is needed.",
        ),
    ),
    "invoice_post": (
        (
            "Send invoices by post only.",
            "Copies of invoices go out by post.",
            "When a customer needs an invoice, use the post.",
            "Invoices are sent by post, not by e-mail.",
            "Post a copy of the invoice when it is needed.",
        ),
        (
            "All invoices go by post.",
            "Post a copy when an invoice is needed.",
        ),
    ),
    # warranty
    "warranty_team": (
        (
            "Refer questions about the warranty to the warranty team.",
            "Do not answer warranty questions, name the warranty team.",
            "Leave the warranty to the warranty team.",
            "When a customer asks about the warranty, refer to the warranty team.",
            "Warranty questions belong to the warranty team.",
        ),
        (
            "Send customers with a question about the warranty to the warranty team.",
            "All warranty questions are for the warranty team.",
        ),
    ),
    "warranty_answer": (
        (
            "Answer questions about the warranty yourself.",
            "Do not refer to the warranty team, say how long it runs.",
            "Say how many years the warranty runs.",
            "When a customer asks about the warranty, answer with the years.",
            "Warranty questions are answered with the years.",
        ),
        (
            "Tell customers the years of the warranty yourself.",
            "All warranty questions are for you to answer.",
        ),
    ),
    # advice
    "doctor": (
        (
            "Give no medical advice, refer to a doctor.",
            "When a customer asks about an allergy, name the doctor.",
            "Refer questions about an allergy to a doctor.",
            "Do not quote labels, a doctor has to answer about an allergy.",
            "Questions about an allergy belong to a doctor.",
        ),
        (
            "Leave questions about an allergy to a doctor.",
            "Send customers with an allergy to a doctor.",
        ),
    ),
    "label": (
        (
            "Quote the label when a customer asks about an allergy.",
            "When a customer asks about an allergy, say what the label says.",
            "Answer questions about an allergy from the label.",
            "Do not refer to a doctor, quote what the label says.",
            "Questions about an allergy are answered from the label.",
        ),
        (
            "Say what the label says about an allergy.",
            "Tell customers with an allergy what the label says.",
        ),
    ),
}
"""Guardrail id -> (paraphrases for every split, paraphrases for the test split only)."""
