"""A typed text as a query: its parts (`eiffelturm`, `sommer 2016`), what is left out, and the query of all.

Parts are dates, files, and names in lists; the rules are in the head of the package. Commands read the names
here, the page keeps them.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache
from itertools import chain, dropwhile, groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection

from tagger.cameras import names_of_camera_models
from tagger.database.connection import Database
from tagger.database.statements import among
from tagger.database.tables import effective_tags
from tagger.errors import QueryOptionInvalid, SearchTextInvalid, ThingNotFound
from tagger.landmarks import (
    find_landmark,
    landmark_countries,
    landmarks_that_may_have,
    landmarks_with_slugs_of,
    newest_landmarks,
    normalize_name,
    photos_by_landmark,
)
from tagger.photos.names import is_photo_name
from tagger.query import DEFAULT_RADIUS_KM, Near
from tagger.query.counts import (
    LandmarkCount,
    city_counts,
    folder_counts,
    landmark_counts,
    most_first,
    sight_counts,
    trip_summaries,
)
from tagger.query.filter_words import Options, conditions_text
from tagger.query.options import (
    QUERY_OPTIONS,
    Alternatives,
    PhotoQuery,
)
from tagger.query.photo_conditions import files_by_name, position_countries
from tagger.roots import RootPaths
from tagger.search import (
    MAX_LETTERS,
    MAX_WORDS,
    SPACES_AND_QUOTES,
    Match,
    Relation,
    is_grammar,
    is_not_after,
    phrases,
    quoted_words,
    relation_of,
    words_of,
)
from tagger.search.names import (
    Kind,
    Meaning,
    Names,
    camera_names,
    city_names,
    countries_of_landmarks,
    country_names,
    file_meanings,
    folder_names,
    foreign_city_names,
    foreign_country_names,
    journey_names,
    landmark_names,
    outcome_names,
    region_names,
    sight_names,
    thing_names,
    trip_names,
)
from tagger.search.vocabulary import (
    AREAS,
    Files,
    LeftOut,
    Part,
    Unshown,
    Vocabulary,
    with_outcome,
)
from tagger.tags.models_in_use import (
    THINGS,
    shipped_file,
    things_are_on,
    things_off_text,
)
from tagger.texts.text_format import N_, country_name, gettext, list_text
from tagger.things import PREFIX, ThingCount, all_things, count_things, find_thing

_ALSO = {
    Kind.COUNTRY: N_("“%(text)s” is also a country: %(name)s."),
    Kind.CITY: N_("“%(text)s” is also a city: %(name)s."),
    Kind.REGION: N_("“%(text)s” is also a state or region: %(name)s."),
    Kind.DATE: N_("“%(text)s” is read as a day. For the month, search for %(name)s."),
}
MOST = 12  # suggestions for a text


@dataclass(frozen=True)
class UnderstoodText:
    """What a text means: its parts, and the query of those understood, with the options of an address.

    `clauses`: the parts, each together with its alternatives.
    """

    clauses: Sequence[Sequence[Part]]
    options: Options
    query: PhotoQuery

    @property
    def parts(self) -> list[Part]:
        return list(chain(*self.clauses))

    @property
    def left_out(self) -> list[Part]:
        return [part for part in self.parts if not part.meanings]

    @property
    def guesses(self) -> list[tuple[str, Meaning]]:
        return [
            (part.text, part.meanings[0])
            for part in self.parts
            if part.meanings and part.meanings[0].match is Match.SIMILAR
        ]

    @property
    def note(self) -> str:
        """A sentence about the words that are left out; empty: none are."""
        reasons = "; ".join(
            gettext(each.left_out.value, text=each.text, count=MAX_WORDS)
            for each in self.left_out
        )
        return reasons and gettext("Left out: %(reasons)s.", reasons=reasons)

    @property
    def hints(self) -> str:
        close = [_label(other) for part in self.left_out for other in part.others]
        sentences = (
            [gettext("Did you mean %(names)s?", names=list_text(close, "or"))]
            if close
            else []
        )
        for part in self.parts:
            for each in part.others if part.meanings else ():
                name = ", ".join(filter(None, (_label(each), each.detail)))
                sentences.append(gettext(_ALSO[each.kind], text=part.text, name=name))
        return " ".join(sentences)

    @property
    def words(self) -> str:
        names = dict[str, str]()
        for meaning in (each for part in self.parts for each in part.meanings):
            label = (
                f"{meaning.label}, {meaning.detail}" if meaning.trip else meaning.label
            )
            names |= {str(value): label for value in meaning.options.values()}
            names |= meaning.trips
        return conditions_text(self.query, names)

    def within(self, query: PhotoQuery) -> PhotoQuery:
        """The photos of another query that match the text, too, whatever became of them.

        Raises:
            QueryOptionInvalid: both have an option that is possible once, or they contradict each other.
        """
        both = {
            name: _both(name, getattr(query, name), getattr(self.query, name))
            for name in self.options
            if name != "any_rank"
        }
        return replace(query, **both, any_outcome="any_rank" in self.options)


def _label(meaning: Meaning) -> str:
    return (
        country_name(meaning.label) if meaning.kind is Kind.COUNTRY else meaning.label
    )


def understand(
    text: str,
    lists: Iterable[Iterable[Names]],
    files: Files,
    today: date,
    unshown: Unshown = lambda _: (),
) -> UnderstoodText:
    """Understand a text. Of the lists, no more are read than it needs, and what is unshown last."""
    words, vocabulary = words_of(text), Vocabulary(files, today, unshown=unshown)
    name = text.strip(SPACES_AND_QUOTES)
    if is_photo_name(name) and vocabulary.named_files(name):
        words = [name]  # with its marks: `Paris (1).jpg`, `a & b.jpg`
    clauses = list[list[Part]]()
    for clause in _clauses(
        vocabulary.parts(
            words[:MAX_WORDS],
            lists,
            quoted_words(text),
        )
    ):
        try:
            PhotoQuery.parse(_options_of([*clauses, clause]))
        except QueryOptionInvalid:
            clauses.append(
                [
                    Part(
                        " ".join(part.text for part in clause),
                        left_out=LeftOut.CONTRADICTS,
                    )
                ]
            )
        else:
            clauses.append([vocabulary.with_hints(part) for part in clause])
    if unread := " ".join(words[MAX_WORDS:]):
        clauses.append([Part(unread, left_out=LeftOut.TOO_LONG)])
    options = _options_of(clauses)
    return UnderstoodText(clauses, options, PhotoQuery.parse(options))


def suggest(
    text: str,
    names: Sequence[Names],
    files: Files,
    today: date,
) -> list[Meaning]:
    """What the start of a text may mean, at most MOST: all that it means now, then single meanings by kind.

    Where its last part is not understood, these are meanings of that, together with the parts before.
    """
    understood = understand(text, [names], files, today)
    vocabulary = Vocabulary(files, today, names)
    suggestions = [
        replace(each, options=with_outcome(each.options))
        for each in vocabulary.starting_with(text)
    ]
    *before, last = understood.parts or (Part(""),)
    if (
        before
        and not suggestions
        and not last.meanings
        and last.left_out is LeftOut.UNKNOWN
    ):
        *clauses, (*alternatives, _) = understood.clauses
        for hint in vocabulary.hints(last.text):
            with suppress(QueryOptionInvalid):
                options = _options_of(
                    [
                        *clauses,
                        [*alternatives, replace(last, meanings=[hint])],
                    ]
                )
                suggestions.append(replace(hint, options=options, trip=None))
    has_photos = all(
        meaning.photos != 0 for part in understood.parts for meaning in part.meanings
    )
    is_new = has_photos and all(
        PhotoQuery.parse(each.options) != understood.query for each in suggestions
    )
    if understood.parts and not understood.left_out and is_new:
        suggestions.insert(
            0,
            Meaning(
                Kind.PHOTOS,
                understood.words,
                "",
                None,
                understood.options,
            ),
        )
    return suggestions[:MOST]


def _clauses(parts: Iterable[Part]) -> list[list[Part]]:
    # Each part together with its alternatives. Words that relate parts or say nothing are gone.
    clauses, words = list[list[Part]](), list[str]()
    for part in _with_runs(parts):
        clause = clauses[-1] if clauses and clauses[-1][-1].meanings else []
        if not part.meanings and is_grammar(part.text):
            if clause and is_not_after(part.text):
                excluded = replace(clause.pop(), is_excluded=True)
                clauses = [*filter(None, clauses), [excluded]]
            else:
                words.append(part.text)
            continue
        relations = {relation_of(word) for word in words}
        from_negation = dropwhile(
            lambda word: relation_of(word) is not Relation.NOT, words
        )
        left_out = Part(" ".join([*from_negation, part.text]))
        related = part if part.meanings else left_out
        words = []
        if not clause or not _are_alternatives(clause, part, relations):
            clauses.append([replace(related, is_excluded=Relation.NOT in relations)])
            continue
        before = clause[-1]
        # With these, a search finds other photos, or in another order, than for the rest.
        is_apart = any(
            name in ("untagged", "failed", "sort")
            for meaning in (*before.meanings, *part.meanings)
            for name in meaning.options
        )
        if before.is_excluded or not (Relation.NOT in relations or is_apart):
            clause.append(replace(related, is_excluded=before.is_excluded))
        else:
            clauses.append([replace(left_out, left_out=LeftOut.OR)])
    if text := " ".join(word for word in words if relation_of(word) is Relation.NOT):
        clauses.append([Part(text)])
    return clauses


def _with_runs(parts: Iterable[Part]) -> Iterator[Part]:
    # The parts; words that are not understood are one, from the first to the last that says something.
    for is_understood, run in groupby(parts, lambda part: bool(part.meanings)):
        of_run = list(run)
        says = [
            number for number, part in enumerate(of_run) if not is_grammar(part.text)
        ]
        if is_understood or not says:
            yield from of_run
        else:
            first, end = says[0], says[-1] + 1
            text = " ".join(part.text for part in of_run[first:end])
            yield from (*of_run[:first], Part(text), *of_run[end:])


def _are_alternatives(
    clause: Sequence[Part],
    part: Part,
    relations: set[Relation | None],
) -> bool:
    # Whether a photo need not be of both: with `or`, or where none is, as of two places.
    if Relation.OR in relations:
        return True
    if Relation.NOT in relations or not part.meanings:
        return False
    kinds = {each.meanings[0].kind for each in (clause[-1], part)}
    if Relation.AND in relations:
        is_of_one = len(kinds) == 1 and kinds.isdisjoint((Kind.OUTCOME, Kind.THING))
        return is_of_one or kinds <= {Kind.LANDMARK, *AREAS}
    is_alone = len(clause) == 1 and not clause[0].is_excluded
    return is_alone and len(kinds) == 1 and kinds <= {Kind.CITY, Kind.REGION}


def _options_of(clauses: Iterable[Sequence[Part]]) -> Options:
    # The options of all clauses; values of one that can be repeated come together.
    #
    # Raises:
    #     QueryOptionInvalid: two have different values of an option that a query can have once.
    options: dict[str, Any] = {}
    for clause in clauses:
        every = [
            each
            for part in clause
            for each in _united([meaning.options for meaning in part.meanings])
        ]
        if clause[0].is_excluded:
            every = [{"without": (_alternatives([each]),)} for each in every]
        elif len(every := _united(every)) > 1:
            every = [{"any_of": (_alternatives(every),)}]
        for name, value in chain(*(each.items() for each in every)):
            if QUERY_OPTIONS[name].several:
                options[name] = tuple(
                    dict.fromkeys(
                        (
                            *options.get(name, ()),
                            *_values(value),
                        )
                    )
                )
            elif options.setdefault(name, value) != value:
                raise QueryOptionInvalid(option=name, reason="is there twice")
    return with_outcome(options)


def _united(every: list[Options]) -> list[Options]:
    # One option with all values, if several mean photos of any of them; else these options.
    names = {name for each in every for name in each}
    is_one = len(names) == 1 and all(
        QUERY_OPTIONS[name].several and not QUERY_OPTIONS[name].all_of_several
        for name in names
    )
    if not is_one:
        return every
    return [
        {
            name: tuple(value for each in every for value in _values(each[name]))
            for name in names
        }
    ]


def _values(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _alternatives(options: Iterable[Options]) -> str:
    return str(Alternatives(tuple(map(PhotoQuery.parse, options))))


def _both(option: str, value: Any, of_text: Any) -> Any:
    # The value of an option that fulfils both.
    if value in (None, False, ()):
        return of_text
    if option in ("any_of", "without") or QUERY_OPTIONS[option].all_of_several:
        return (*value, *of_text)
    if option == "taken_after":
        return max(value, of_text)
    if option == "taken_before":
        return min(value, of_text)
    can_match_both = option in ("year", "calendar_month", "calendar_day")
    common = tuple(each for each in value if each in of_text) if can_match_both else ()
    if not common:
        raise QueryOptionInvalid(
            option=option, reason="the text has one, too. Leave out one of them"
        )
    return common


# The text of a command: its names are read from the database

_REASONS = {
    LeftOut.UNKNOWN: "it is no date, and nothing in the library has this name.",
    LeftOut.CONTRADICTS: "no photo can match this and the rest. Leave out one of them.",
    LeftOut.OR: "a search cannot join this and the rest with `or`. Search for one after the other.",
    LeftOut.TOO_LONG: f"a search has at most {MAX_WORDS} words. Leave these out.",
}


def text_query(database: Database, text: str, root_paths: RootPaths) -> UnderstoodText:
    """Understand a text. `root_paths` is settings.roots.

    Raises:
        SearchTextInvalid: it is longer than MAX_LETTERS, a word is no date and no name, two parts contradict
            each other, or no word is.
    """
    if len(text) > MAX_LETTERS:
        raise SearchTextInvalid(
            text=f"{text[:40]}…",
            reason=f"it is longer than {MAX_LETTERS} letters. Search for less at once.",
            hint="",
        )
    queries = list_queries(database, root_paths)
    read = cache(lambda name: queries[name]())
    names = lists_of_names(
        database, text, lambda kind: names_of_kind(kind, read), queries["things"]
    )
    understood = understand(
        text,
        names,
        named_files(database, root_paths),
        this_day(),
        unshown_things(database),
    )
    if not understood.parts:
        raise SearchTextInvalid(text=repr(text), reason="it has no words.", hint="")
    for part in understood.left_out:
        hint = understood.hints if part.others else ""
        of_thing = (
            thing_hint(database, part.text) if part.left_out is LeftOut.UNKNOWN else ""
        )
        reason = " ".join(filter(None, (_REASONS[part.left_out], hint, of_thing)))
        raise SearchTextInvalid(text=part.text, reason=reason, hint=hint)
    return understood


def thing_hint(database: Database, text: str) -> str:
    """Why no photo is found by the name of a thing; empty: it is none."""
    name = text.removeprefix(PREFIX).casefold()
    with database.read() as connection:
        off_text = things_off_text(connection)
        if not off_text:
            try:
                find_thing(connection, name)
            except ThingNotFound as error:
                return str(error) if text.startswith(PREFIX) else ""
            return ""
    from tagger.model.artifact import read_manifest  # pydantic

    known_names = {
        each.casefold()
        for label in read_manifest(shipped_file(THINGS)).labels
        for each in (label.name, *label.names.values(), *label.aliases)
    }
    return off_text if name in known_names else ""


def place_near(database: Database, name: str, root_paths: RootPaths) -> Near | None:
    """The circle around a city, landmark or sight that a text names; None: it names none.

    Raises:
        SearchTextInvalid: as `text_query`, if no sight of the world has the name either.
    """
    try:
        query = text_query(database, name, root_paths).query
    except SearchTextInvalid:
        circle = _around_sight(database, name)
        if circle is None:
            raise
        return circle
    if query.circle is not None:
        return query.circle
    if query.landmark:
        with database.read() as connection:
            landmark = find_landmark(connection, query.landmark[0])
        if landmark.latitude is not None and landmark.longitude is not None:
            return Near(landmark.latitude, landmark.longitude, DEFAULT_RADIUS_KM)
    return _around_sight(database, name)


def _around_sight(database: Database, name: str) -> Near | None:
    from tagger.sights import library_sights  # numpy, and a table of 20,900 sights

    with database.read() as connection:
        sights = library_sights(connection)
    for sight in sights.find(name, 1):
        return Near(sight.latitude, sight.longitude, DEFAULT_RADIUS_KM)
    return None


def named_files(database: Database, root_paths: RootPaths) -> Files:
    return lambda start, limit: file_meanings(
        files_by_name(database, root_paths, start, limit)
    )


def unshown_things(database: Database) -> Unshown:
    """The things of models that a text names, which are read if nothing in the library has the name."""

    @cache
    def names() -> Names:
        with database.read() as connection:
            things = (
                all_things(connection).values() if things_are_on(connection) else ()
            )
        return thing_names(ThingCount(thing, 0, 0, "") for thing in things)

    return lambda text: names().named(text)


def this_day() -> date:
    return datetime.now().astimezone().date()


def unfamiliar_names(
    database: Database,
    text: str,
    familiar: Collection[str],
    sights: Collection[str] = (),
    *,
    by_name: bool = False,
) -> Names:
    """The names in a text of landmarks without these slugs, and the newest ones: just taught places.

    A landmark that no photo shows stands back where photos were taken at the sight of its name.
    `by_name`: also if the slug has not the name; reads all landmarks.
    """
    find = landmarks_that_may_have if by_name else landmarks_with_slugs_of
    with database.read() as connection:
        every = *find(connection, phrases(text)), *newest_landmarks(connection)
        unfamiliar = {each.id: each for each in every if each.slug not in familiar}
        numbers = photos_by_landmark(
            connection, among(effective_tags.c.landmark_id, list(unfamiliar))
        )
    names_of_sights = set(map(normalize_name, sights))
    counts = most_first(
        LandmarkCount.of(each, numbers[each.id])
        for each in unfamiliar.values()
        if numbers[each.id]
        or names_of_sights.isdisjoint(map(normalize_name, each.all_names))
    )
    return landmark_names(counts)


class LandmarkNames(NamedTuple):
    """Landmarks and sights by their names. `familiar`: the slugs of landmarks with photos.

    `countries`: those of landmarks, 0 if no photo shows any of them.
    """

    landmarks: Names
    sights: Names
    familiar: Collection[str]
    sight_names: Collection[str]
    countries: Mapping[str, int | None]


def names_of_kind(kind: str, read: Callable[[str], Any]) -> Any:
    if kind == "landmarks":
        counts, sights = read("counts"), read("sights")
        return LandmarkNames(
            landmark_names(counts),
            sight_names(sights, counts),
            {count.landmark for count in counts if count.photos},
            [count.sight.name for count in sights],
            countries_of_landmarks(counts),
        )
    if kind == "cities":
        cities = read("cities")
        return city_names(cities), region_names(cities)
    if kind == "foreign":
        return foreign_country_names(read("countries")), foreign_city_names(
            read("cities")
        )
    if kind == "trips":
        trips = read("trips")
        return journey_names(trips), trip_names(trips)
    return (_NAMES_OF_A_LIST[kind](read(kind)),)


_NAMES_OF_A_LIST: Mapping[str, Callable[[Any], Names]] = {
    "countries": country_names,
    "cameras": camera_names,
    "folders": folder_names,
}
KINDS_OF_NAMES = (
    "landmarks",
    "countries",
    "cameras",
    "cities",
    "foreign",
    "trips",
    "folders",
)


def lists_of_names(
    database: Database,
    text: str,
    names: Callable[[str], Any],
    things: Callable[[], Iterable[ThingCount]],
    *,
    by_name: bool = True,
) -> Iterator[Sequence[Names]]:
    """The names for a text, those that are read fastest first.

    `names`: as `names_of_kind`. `things`: counts them. `by_name`: as `unfamiliar_names`.
    """
    landmarks: LandmarkNames = names("landmarks")
    yield (
        landmarks.landmarks,
        unfamiliar_names(database, text, landmarks.familiar, landmarks.sight_names),
        *names("countries"),
        *names("cameras"),
        outcome_names(),
        thing_names(things()),
    )
    yield *names("cities"), landmarks.sights
    yield names("foreign")
    yield names("trips")
    yield names("folders")
    if by_name:
        yield (
            unfamiliar_names(
                database,
                text,
                landmarks.familiar,
                landmarks.sight_names,
                by_name=True,
            ),
        )


def list_queries(
    database: Database, root_paths: RootPaths
) -> Mapping[str, Callable[[], Any]]:
    """What reads each list in which searches find names. Folders are counted from all photos."""

    def read(query: Callable[[Connection], Any]) -> Any:
        with database.read() as connection:
            return query(connection)

    return {
        "counts": lambda: landmark_counts(database),
        "sights": lambda: sight_counts(database),
        "countries": lambda: dict.fromkeys(
            (*read(position_countries), *read(landmark_countries))
        ),
        "cameras": lambda: read(names_of_camera_models),
        "things": lambda: count_things(database),
        "cities": lambda: city_counts(database),
        "trips": lambda: trip_summaries(database),
        "folders": lambda: folder_counts(database, root_paths),
    }
