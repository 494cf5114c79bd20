"""The schema of XMP: namespaces, the fields that this program writes, and the texts of their values."""

import math
import re

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XML = "http://www.w3.org/XML/1998/namespace"
META = "adobe:ns:meta/"
OUR_NAMESPACE = "urn:landmark-tagger:xmp:1.0/"
OUR_PREFIX = "landmarkTagger"
LANDMARK_URN = "urn:landmark-tagger:landmark:"

# Those of fields that are written or left out of sidecars. Others have the prefix of their packet.
NAMESPACES = {
    OUR_PREFIX: OUR_NAMESPACE,
    "x": META,
    "xml": XML,
    "rdf": RDF,
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "MicrosoftPhoto1.0": "http://ns.microsoft.com/photo/1.0",  # as Windows and exiftool may write it
    "mediapro": "http://ns.iview-multimedia.com/mediapro/1.0/",
    "acdsee": "http://ns.acdsee.com/iptc/1.0/",
}
PREFIXES = {uri: prefix for prefix, uri in NAMESPACES.items()}

SUBJECT = "dc:subject"
DESCRIPTION = "dc:description"
# The name in `Added` of a text with which version 1 replaced an empty one.
FILLED_DESCRIPTION = "dc:description[x-default]"
HIERARCHY = "lr:hierarchicalSubject"
TAGS_LIST = "digiKam:TagsList"
# The fields for hierarchical keywords, in the order in which digiKam reads them, and their
# separators.
HIERARCHIES = (
    (TAGS_LIST, "/"),
    ("MicrosoftPhoto:LastKeywordXMP", "/"),
    ("MicrosoftPhoto1.0:LastKeywordXMP", "/"),
    (HIERARCHY, "|"),
    ("mediapro:CatalogSets", "|"),
)
# The hierarchical keywords of ACDSee, as XML in a text, which digiKam reads last.
CATEGORIES = "acdsee:categories"
LOCATION_SHOWN = "Iptc4xmpExt:LocationShown"
LOCATION_ID = "Iptc4xmpExt:LocationId"
LOCATION_NAME = "Iptc4xmpExt:LocationName"
CITY, PROVINCE, COUNTRY = "Iptc4xmpExt:City", "Iptc4xmpExt:ProvinceState", "Iptc4xmpExt:CountryName"
LATITUDE, LONGITUDE = "exif:GPSLatitude", "exif:GPSLongitude"
GPS_METHOD, GPS_ERROR, GPS_DATUM = "exif:GPSProcessingMethod", "exif:GPSHPositioningError", "exif:GPSMapDatum"
POSITION = (LATITUDE, LONGITUDE, GPS_METHOD, GPS_ERROR, GPS_DATUM)
LISTS = (SUBJECT, HIERARCHY, TAGS_LIST)
LIST_FIELDS = (*LISTS, LOCATION_SHOWN)

LANDMARKS, ADDED = f"{OUR_PREFIX}:Landmarks", f"{OUR_PREFIX}:Added"
SIDECAR, PACKET = f"{OUR_PREFIX}:Sidecar", f"{OUR_PREFIX}:Packet"

# Every field that may hold our values.
WRITABLE_FIELDS = frozenset(
    (*LISTS, DESCRIPTION, LOCATION_SHOWN, *POSITION, LANDMARKS, ADDED, SIDECAR, PACKET)
)


def tag(name: str) -> str:
    """The XML name of "dc:subject": "{http://purl.org/dc/elements/1.1/}subject"."""
    prefix, _, local = name.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


BAG, SEQ, ALT, ITEM = tag("rdf:Bag"), tag("rdf:Seq"), tag("rdf:Alt"), tag("rdf:li")
NODE, ABOUT = tag("rdf:Description"), tag("rdf:about")
PARSE_TYPE, LANG = tag("rdf:parseType"), tag("xml:lang")
DEFAULT_LANG = "x-default"


_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Degrees, minutes and seconds, the last with decimals, and the direction or, from some, a sign.
_COORDINATE = re.compile(
    r"([+-]?)(\d{1,3}(?:\.\d{1,15})?)(?:,(\d{1,2}(?:\.\d{1,15})?)(?:,(\d{1,2}(?:\.\d{1,15})?))?)?([NSEW]?)",
    re.ASCII,
)
_SAME_DEGREES = 1e-5


def clean(text: str | None) -> str:
    """Remove characters that XML cannot hold; "" if only white space remains."""
    cleaned = _NOT_XML.sub("", text or "")
    return cleaned if cleaned.strip() else ""


def lightroom_path(names: tuple[str, ...]) -> str:
    """'Places|France|Paris'; a '|' within a name is written '¦'."""
    return "|".join(_path_names(names))


def digikam_path(names: tuple[str, ...]) -> str:
    """'Places/France/Paris'; a '/' within a name is written as a backslash, as digiKam does."""
    return "/".join(name.replace("/", "\\") for name in _path_names(names))


def coordinate(degrees: float, directions: str) -> str:
    """'48,51.5040N' for 48.8584 and "NS": degrees, and minutes to 20 centimetres."""
    parts = round(abs(degrees) * 600_000)
    whole, rest = divmod(parts, 600_000)
    return f"{whole},{rest // 10_000}.{rest % 10_000:04d}{directions[degrees < 0]}"


def same_coordinate(first: str, second: str) -> bool:
    """Whether both texts are the same coordinate: other programs write more or fewer decimals."""
    first_degrees, second_degrees = degrees_of(first), degrees_of(second)
    return first == second or (
        first_degrees is not None
        and second_degrees is not None
        and abs(first_degrees - second_degrees) < _SAME_DEGREES
    )


def degrees_of(text: str, direction: str = "") -> float | None:
    """The degrees of a coordinate: `48,51.504N` or `48,51,30.24N`, its `direction` elsewhere, or `48.8584`.

    None: it is none, or its hemisphere is not known.
    """
    match = _COORDINATE.fullmatch("".join(text.split()).upper())
    if match is None:
        return None
    sign, *parts, stated = match.groups()
    stated = stated or direction.strip().upper()[:1]
    is_decimal = parts[1] is None
    if (sign and stated) or not (stated or is_decimal):
        return None
    degrees = 0.0
    for part, unit, is_last in zip(parts, (1, 60, 3600), (is_decimal, parts[2] is None, True), strict=True):
        if part is None:
            break
        if (unit > 1 and float(part) >= 60) or (not is_last and "." in part):
            return None
        degrees += float(part) / unit
    return -degrees if sign == "-" or stated in ("S", "W") else degrees


def is_on_earth(latitude: float | None, longitude: float | None) -> bool:
    """Whether both are valid coordinates."""
    if latitude is None or longitude is None:
        return False
    return abs(latitude) <= 90 and abs(longitude) <= 180  # false for NaN


def metres(error_m: float) -> str:
    """'250/1': whole metres, rounded up, as a rational number."""
    return f"{math.ceil(error_m)}/1"


def _path_names(names: tuple[str, ...]) -> list[str]:
    return [name for name in (clean(name).replace("|", "¦") for name in names) if name]
