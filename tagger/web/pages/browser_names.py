"""What a browser is, in words, from what it says of itself (User-Agent)."""

_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
)
"""Signs and names. An earlier sign counts: most browsers also name those that they resemble."""
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser_name(user_agent: str | None) -> str:
    """Return the browser and its system, like `Firefox on Linux`."""
    text = user_agent or ""
    browser = next((name for sign, name in _BROWSERS if sign in text), "Unknown browser")
    system = next((name for sign, name in _SYSTEMS if sign in text), None)
    return browser if system is None else f"{browser} on {system}"
