"""The filter panel: choices with their numbers of photos, on a page of its own. With a script, the page of photos shows it beside them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from tagger.catalog.cameras import camera_model
from tagger.catalog.landmarks import all_landmarks
from tagger.errors import QueryInvalid
from tagger.query.facets import Facet, FacetName, FacetValue
from tagger.web.http.page_texts import page_text
from tagger.web.http.query_params import QueryParams
from tagger.web.http.templates import render
from tagger.web.pages.filters import (
    POSITIONS,
    VERDICTS,
    WHICH,
    check_options,
    params_or_error,
    raw_params,
    score_choices,
    year_of,
)
from tagger.web.pages.photos import QUERY_ERRORS
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)


@dataclass(frozen=True)
class Choice:
    """A choice of a filter. `photos` is text, such as `120` or `120+`; empty if they are not counted. `depth` of folders in folders."""

    value: str
    name: str
    photos: str
    is_checked: bool
    depth: int = 0


@dataclass(frozen=True)
class ChoiceGroup:
    """A filter with its choices. Of `several`, any number can be checked; otherwise one, or none: `any_name`."""

    option: str
    title: str
    any_name: str
    choices: tuple[Choice, ...]
    several: bool = False

    @property
    def is_set(self) -> bool:
        return any(choice.is_checked for choice in self.choices)


@router.get("/photos/filter")
def show_filter(
    request: Request, state: State, params: Annotated[QueryParams | QueryInvalid, Depends(params_or_error)]
) -> HTMLResponse:
    """Show the filters of a query, with the number of photos of each choice."""
    form = raw_params(request) if isinstance(params, QueryInvalid) else params
    groups: Sequence[ChoiceGroup] = ()
    problem = ""
    try:
        check_options(request)
        if isinstance(params, QueryInvalid):
            raise params
        groups = tuple(_groups(state, params))
    except QUERY_ERRORS as error:
        problem = page_text(error)
    return render(
        request,
        "filter.html",
        400 if problem else 200,
        groups=groups,
        problem=problem,
        options=form.options,
        year=year_of(form),
        scores=score_choices(form.text("min_score")),
        back=form.address("/photos"),
    )


def _groups(state: AppState, params: QueryParams) -> Iterator[ChoiceGroup]:
    """Count the choices; exact copies are one photo, as in the grid."""
    counted = replace(params.as_timeline().query, sort=None)
    with params.model_checked():
        facets: dict[FacetName, Facet] = {facet.facet: facet for facet in state.facet_counts.get(counted)}
    query = params.query
    with state.database.read() as connection:
        cameras = [camera_model(connection, name) for name in query.camera]
        landmarks = {landmark.slug: landmark.all_names for landmark in all_landmarks(connection)}
    slug = next(
        (slug for slug, names in landmarks.items() if query.landmark in (slug, *names)), query.landmark
    )
    which = next((name for name in WHICH if getattr(query, name)), None)
    year = year_of(params)
    folders = [str(folder) for folder in query.under]
    is_place = bool(query.country or query.near or query.box or query.position or query.verdict or query.job)
    yield _group(facets["landmark"], "landmark", "Landmark", [slug])
    yield _group(facets["country"], "country", "Country", [query.country])
    yield _group(facets["year"], "year", "Year", [year])
    yield _group(facets["camera"], "camera", "Camera", cameras, several=True)
    yield _group(facets["position"], "position", "Position", [query.position], POSITIONS)
    all_name = "All of these" if is_place else "With a landmark"
    yield _group(facets["outcome"], "which", "Which photos", [which], WHICH, all_name)
    yield _group(facets["verdict"], "verdict", "Verdict", [query.verdict], VERDICTS)
    yield _folders(_group(facets["folder"], "under", "Folder", folders))


def _group(
    facet: Facet,
    option: str,
    title: str,
    chosen: Iterable[str | None],
    names: Mapping[str, str] | None = None,
    any_name: str = "Any",
    *,
    several: bool = False,
) -> ChoiceGroup:
    texts = {text.casefold(): text for text in chosen if text}
    choices = []
    for each in facet.values:
        is_checked = any(texts.pop(text, None) for text in {each.value.casefold(), each.name.casefold()})
        name = (names or {}).get(each.value, each.name)
        choices.append(Choice(each.value, name, _number(each, exact=facet.exact), is_checked))
    without_photos = [
        Choice(text, (names or {}).get(text, text), "0" if facet.exact else "", True)
        for text in texts.values()
    ]
    return ChoiceGroup(option, title, any_name, (*without_photos, *choices), several)


def _number(value: FacetValue, *, exact: bool) -> str:
    return f"{value.photos:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") + ("" if exact else "+")


def _folders(group: ChoiceGroup) -> ChoiceGroup:
    """The folders as a tree: each below the one that it is in."""
    paths = sorted(group.choices, key=lambda choice: choice.value.split("/"))
    least = min((choice.value.count("/") for choice in paths), default=0)
    tree = (
        replace(
            choice,
            name=PurePath(choice.value).name or choice.name,
            depth=min(choice.value.count("/") - least, 4),
        )
        for choice in paths
    )
    return replace(group, choices=tuple(tree))
