"""Times as people say them."""


def format_seconds(seconds: float) -> str:
    """Seconds as people say them.

    Example:
        >>> format_seconds(8.2), format_seconds(95), format_seconds(5400)
        ('8 s', '1 min 35 s', '1 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s".replace(" 00 s", "")
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
