"""What says how good a response is: reward models, and rules, behind one protocol (``halign.rewards.protocol``)."""
