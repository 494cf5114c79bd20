// The map of photos. MapLibre draws the land, and links stand for clusters of photos. Without WebGL, a note says so.

import { create } from "./elements.js";
import { AreaSelection } from "./map_area.js";
import { LiveMap, boxOf, startOrExplain } from "./map_live.js";
import { gettext, ngettext, photoCount } from "./texts.js";

function showSummary(summary, { photos, address }) {
  summary.replaceChildren();
  if (photos) {
    const words = ngettext("Show %(count)s photo", "Show %(count)s photos", photos);
    summary.append(create("a", { className: "button button--small", href: address }, words));
  } else {
    summary.textContent = gettext("No photos in this part of the map");
  }
}

/** Whether a landmark is in the visible part; one without a place is in each. The part may cross 180°. */
function isWithin(bounds, at) {
  if (!at) return true;
  const [latitude, longitude] = at.split(",").map(Number);
  const east = (((longitude - bounds.getWest()) % 360) + 360) % 360;
  return latitude >= bounds.getSouth() && latitude <= bounds.getNorth() && east <= bounds.getEast() - bounds.getWest();
}

/** Lists the landmarks of the visible part. */
function showList(list, bounds) {
  for (const country of list.querySelectorAll(".map-country")) {
    const landmarks = [...country.querySelectorAll("li")];
    for (const landmark of landmarks) landmark.hidden = !isWithin(bounds, landmark.dataset.at);
    const shown = landmarks.filter(({ hidden }) => !hidden);
    const photos = shown.reduce((sum, { dataset }) => sum + Number(dataset.photos), 0);
    country.hidden = !shown.length;
    country.querySelector(".count").textContent = `${ngettext("%(count)s landmark", "%(count)s landmarks", shown.length)}, ${photoCount(photos)}`;
  }
  list.querySelector("[data-nothing]").hidden = list.querySelector(".map-country:not([hidden])") !== null;
}

async function start(host) {
  const figure = host.closest("figure");
  const summary = figure.querySelector(".map-live-summary");
  const live = await LiveMap.start(host);
  const { map } = live;
  new AreaSelection(map, host, (box) => location.assign(`/photos?${new URLSearchParams({ box })}`));

  async function update() {
    showList(document.querySelector(".map-list"), map.getBounds());
    try {
      const found = await live.update();
      if (found) showSummary(summary, found);
    } catch {
      summary.textContent = gettext("The photos cannot be loaded. Move the map to try again.");
    }
  }

  map.on("moveend", () => {
    history.replaceState(history.state, "", `/map?box=${boxOf(map)}`);
    update();
  });
  update();
}

function startAll() {
  const host = document.querySelector(".map-live:not([data-started])");
  if (host) startOrExplain(host, start);
}

startAll();
// The page replaces its map once the photos are counted.
document.addEventListener("htmx:afterSettle", startAll);
