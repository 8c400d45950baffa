"""Parameter-efficient training through peft: low-rank changes to the weights, or virtual tokens before every path.

``build`` adds adapters to a model, ``virtual`` takes virtual tokens through scoring and sampling, ``adalora`` moves ranks between
layers, ``sharing`` lets several models stand on one trunk, ``state`` keeps what is trained for a resumed run, ``merging`` writes
a plain checkpoint.
"""
