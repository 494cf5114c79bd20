"""The filter panel: choices with their numbers of photos, which a script shows beside them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tagger.cameras import camera_model
from tagger.landmarks import find_landmark
from tagger.query.facets import MOST_READ, Facet, FacetName
from tagger.query.filter_words import (
    WHICH,
    WITH_LANDMARK,
    is_of_accepted_tags,
    selects_all_photos,
    whole_year,
)
from tagger.query.options import QUERY_OPTIONS, PhotoQuery
from tagger.texts.text_format import N_, country_name, gettext, number_text
from tagger.things import find_thing
from tagger.web.access import Role, requires
from tagger.web.errors import page_text
from tagger.web.pages.photos import (
    ALL_PHOTOS,
    QUERY_ERRORS,
    FormParams,
    panel_group,
    valid_params,
)
from tagger.web.routes import COUNTING, QueryParams
from tagger.web.state import AppState, State
from tagger.web.templating import render

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)


# Folders that are nested deeper are not indented further.
_DEEPEST = 4
# Choices that a group shows at first.
FEW = 8
# With at most so many more choices, all are shown.
_FEW_MORE = 2
# The titles of filters by the options of queries.
TITLES = {
    "which": N_("Which photos"),
    "landmark": N_("Landmark"),
    "country": N_("Country"),
    "thing": N_("Things"),
    "year": N_("Year"),
    "camera": N_("Camera"),
    "under": N_("Folder"),
}
_ANY = N_("Any")
_ALL = N_("All of these")


@dataclass(frozen=True)
class Choice:
    """A choice of a filter. `photos` is text, such as `120` or `120+`; empty if they are not counted.

    For a folder, `depth` is the number of folders of the tree above it. If it is open, its subfolders are
    choices, too.
    """

    value: str
    name: str
    photos: str
    is_checked: bool
    has_folders: bool = False
    folders: "ChoiceList | None" = None
    depth: int = 0
    is_open: bool = False

    @property
    def is_first(self) -> bool:
        """Whether it is shown at first. A folder is open if it is chosen, or a folder in it."""
        return self.is_checked or self.is_open


@dataclass(frozen=True)
class ChoiceList:
    """Choices in their order. `key` tells the lists of a panel apart.

    `left_out`: how many choices are not in the list. `folder`: the name of the folder that contains them.
    """

    key: str
    all: tuple[Choice, ...]
    left_out: int = 0
    folder: str = ""

    @property
    def first(self) -> tuple[Choice, ...]:
        few = self._few
        return (
            *self.all[:few],
            *(choice for choice in self.all[few:] if choice.is_first),
        )

    @property
    def rest(self) -> tuple[Choice, ...]:
        return tuple(choice for choice in self.all[self._few :] if not choice.is_first)

    @property
    def _few(self) -> int:
        return len(self.all) if len(self.all) <= FEW + _FEW_MORE else FEW


@dataclass(frozen=True)
class ChoiceGroup:
    """A filter with its choices: `several` at once, or one, or none, which is `any_name` with `any_value`.

    `any_photos`: the number of photos without a choice, as text; empty if they are not counted.
    """

    option: str
    title: str
    any_name: str
    choices: ChoiceList
    several: bool = False
    any_value: str = ""
    any_photos: str = ""

    @property
    def is_set(self) -> bool:
        return any(choice.is_checked for choice in self.choices.all)


@router.get("/photos/filter", dependencies=[COUNTING])
@requires(Role.VIEWER)
def show_filter(
    request: Request,
    state: State,
    params: FormParams,
) -> HTMLResponse:
    groups: tuple[ChoiceGroup, ...] = ()
    counted, problem = "", ""
    try:
        groups, counted = _panel(state, valid_params(request, params))
    except QUERY_ERRORS as error:
        problem = page_text(error)
    return render(
        request,
        "filter.html",
        400 if problem else 200,
        groups=groups,
        counted=counted,
        problem=problem,
        options=params.options,
        year=whole_year(params.query),
        kept=[
            (name, value)
            for name, value in params.options.items()
            if not panel_group(name)
        ],
        all_photos=ALL_PHOTOS,
    )


def _panel(state: AppState, params: QueryParams) -> tuple[tuple[ChoiceGroup, ...], str]:
    # Count the choices; exact copies are one photo, as in the grid.
    #
    # Return them, and as text how many of the photos added last were counted; empty if all were.
    counted = replace(params.as_timeline().query, sort=None)
    if is_of_accepted_tags(params.options):
        counted = replace(counted, any_rank=False)
    if (
        year := whole_year(params.query)
    ) is not None:  # dates of a whole year count as that year
        counted = replace(
            counted,
            year=(*counted.year, int(year)),
            taken_after=None,
            taken_before=None,
        )
    with params.model_checked():
        facets: dict[FacetName, Facet] = {
            facet.facet: facet for facet in state.facet_counts.get(counted)
        }
    is_exact = all(facet.exact for facet in facets.values())
    which = _outcome_group(params, counted, facets["outcome"])
    chosen = [str(folder) for folder in counted.under]
    group = _group(facets["folder"], "under", chosen, several=True)
    # Folders are a tree. Chosen ones, and those around them, are open.
    choices = sorted(group.choices.all, key=lambda choice: choice.value.split("/"))
    folders = replace(
        group, choices=replace(group.choices, all=tuple(_tree(choices, chosen)))
    )
    return (
        *_groups(state, counted, facets, which),
        folders,
    ), "" if is_exact else number_text(MOST_READ)


def _outcome_group(params: QueryParams, query: PhotoQuery, facet: Facet) -> ChoiceGroup:
    # The choices of an outcome, without `any_rank` if that changes nothing.
    chosen = [name for name in WHICH if getattr(query, name)]
    is_of_tags, is_of_all = (
        is_of_accepted_tags(params.options),
        selects_all_photos(params.options),
    )
    if is_of_tags:
        facet = replace(
            facet,
            values=tuple(each for each in facet.values if each.value != "any_rank"),
        )
    names = {value: gettext(name) for value, name in WHICH.items()}
    any_name = WHICH["any_rank"] if is_of_tags else WITH_LANDMARK
    if is_of_all:
        any_name = _ALL
    group = _group(facet, "which", chosen[:1], names, any_name)
    return (
        replace(group, any_value="any_rank") if is_of_tags and not is_of_all else group
    )


def _groups(
    state: AppState,
    query: PhotoQuery,
    facets: Mapping[FacetName, Facet],
    which: ChoiceGroup,
) -> Iterator[ChoiceGroup]:
    with state.database.read() as connection:
        cameras = [camera_model(connection, name) for name in query.camera]
        found = [find_landmark(connection, name) for name in query.landmark]
        things = [find_thing(connection, name).slug for name in query.thing]
    landmarks = {each.slug: each.display_name for each in found}
    groups: dict[FacetName, tuple[Iterable[str | None], Mapping[str, str]]] = {
        "landmark": (landmarks, landmarks),
        "country": (
            query.country,
            {each.value: country_name(each.value) for each in facets["country"].values},
        ),
        "thing": (things, {}),
        "year": (map(str, query.year), {}),
        "camera": (cameras, {}),
    }
    yield which
    for name, (values, texts) in groups.items():
        several = QUERY_OPTIONS[name].several
        yield _group(facets[name], name, values, texts, several=several)


def _group(
    facet: Facet,
    option: str,
    chosen: Iterable[str | None],
    names: Mapping[str, str] | None = None,
    any_name: str = _ANY,
    *,
    several: bool = False,
) -> ChoiceGroup:
    texts = {text.casefold(): text for text in chosen if text}
    choices = []
    for each in facet.values:
        is_checked = any(
            texts.pop(text, None)
            for text in {each.value.casefold(), each.name.casefold()}
        )
        name = (names or {}).get(each.value, each.name)
        choices.append(
            Choice(
                each.value,
                name,
                _number(each.photos, exact=facet.exact),
                is_checked,
                each.has_folders,
            )
        )
    without_photos = [
        Choice(text, (names or {}).get(text, text), "0" if facet.exact else "", True)
        for text in texts.values()
    ]
    of_any = "" if facet.default is None else _number(facet.default, exact=facet.exact)
    listed = ChoiceList(option, (*without_photos, *choices), facet.more)
    title = gettext(TITLES[option])
    return ChoiceGroup(
        option, title, gettext(any_name), listed, several, any_photos=of_any
    )


def _number(photos: int, *, exact: bool) -> str:
    return number_text(photos) + ("" if exact else "+")


def _tree(
    choices: Sequence[Choice], chosen: Sequence[str], depth: int = 0
) -> Iterator[Choice]:
    # Yield the outermost of these choices, which are in the order of the tree, each with those inside.
    start = 0
    while start < len(choices):
        outer, end = choices[start], start + 1
        while end < len(choices) and _is_in(choices[end].value, outer.value):
            end += 1
        name = PurePath(outer.value).name or outer.name
        inside = tuple(_tree(choices[start + 1 : end], chosen, depth + 1))
        yield replace(
            outer,
            name=name,
            folders=ChoiceList(outer.value, inside, folder=name),
            depth=min(depth, _DEEPEST),
            is_open=any(
                folder == outer.value or _is_in(folder, outer.value)
                for folder in chosen
            ),
        )
        start = end


def _is_in(folder: str, other: str) -> bool:
    return folder.startswith(other.rstrip("/") + "/")
