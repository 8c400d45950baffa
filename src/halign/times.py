"""Spans of time in words."""


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(7.4), duration(200), duration(5000)
    ('7 s', '3 min 20 s', '1 h 23 min')
    """
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60:02d} s"
    return f"{s // 3600} h {s % 3600 // 60:02d} min"
