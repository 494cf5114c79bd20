"""What people call countries beside the names that GeoNames has: short forms, older names, and the country's own."""

_OTHER_NAMES = {
    "Austria": ("Österreich",),
    "Belgium": ("België", "Belgique"),
    "Brazil": ("Brasil",),
    "Cabo Verde": ("Cape Verde",),
    "China": ("PRC",),
    "Croatia": ("Hrvatska",),
    "Czechia": ("Czech Republic", "Česko"),
    "Democratic Republic of the Congo": ("DRC", "DR Congo", "Zaire"),
    "Denmark": ("Danmark",),
    "Egypt": ("Misr",),
    "Eswatini": ("Swaziland",),
    "Finland": ("Suomi",),
    "Germany": ("Deutschland", "Allemagne"),
    "Greece": ("Hellas", "Ellada"),
    "Hungary": ("Magyarország",),
    "Iceland": ("Ísland",),
    "India": ("Bharat",),
    "Ireland": ("Éire",),
    "Italy": ("Italia",),
    "Ivory Coast": ("Côte d'Ivoire",),
    "Japan": ("Nippon", "Nihon"),
    "Mexico": ("México",),
    "Myanmar": ("Burma",),
    "Netherlands": ("Holland", "Nederland"),
    "North Macedonia": ("Macedonia",),
    "Norway": ("Norge",),
    "Poland": ("Polska",),
    "Romania": ("România",),
    "Slovakia": ("Slovensko",),
    "Slovenia": ("Slovenija",),
    "South Africa": ("RSA",),
    "South Korea": ("Republic of Korea",),
    "Spain": ("España",),
    "Sweden": ("Sverige",),
    "Switzerland": ("Schweiz", "Suisse", "Svizzera"),
    "Timor-Leste": ("East Timor",),
    "Turkey": ("Türkiye",),
    "United Arab Emirates": ("Emirates",),
    "United Kingdom": ("GB", "Great Britain", "Britain", "England", "Scotland", "Wales"),
    "United States": ("USA", "United States of America", "America"),
    "Vatican City": ("Holy See",),
}


def country_names(country: str) -> tuple[str, ...]:
    """Every name of a country: this one, its initials (UK, US, UAE), and what else people call it."""
    words = [word for word in country.split() if word[0].isupper()]
    initials = ("".join(word[0] for word in words),) if len(words) > 1 else ()
    return (country, *initials, *_OTHER_NAMES.get(country, ()))
