// The map of photos. MapLibre draws the land, and links stand for clusters of photos. Without WebGL, a note says so.

import { create } from "./elements.js";
import { LiveMap, boxOf, startOrExplain } from "./map_live.js";
import { gettext, ngettext } from "./texts.js";

function showSummary(summary, { photos, address }) {
  summary.replaceChildren();
  if (photos) {
    const words = ngettext("Show %(count)s photo", "Show %(count)s photos", photos);
    summary.append(create("a", { className: "button button--small", href: address }, words));
  } else {
    summary.textContent = gettext("No photos in this part of the map");
  }
}

async function start(host) {
  const figure = host.closest("figure");
  const summary = figure.querySelector(".map-live-summary");
  const live = await LiveMap.start(host);
  const { map } = live;

  async function update() {
    try {
      const found = await live.update();
      if (found && summary) showSummary(summary, found);
    } catch {
      if (summary) summary.textContent = gettext("The photos cannot be loaded. Move the map to try again.");
    }
  }

  map.on("moveend", () => {
    if (summary) history.replaceState(history.state, "", `/map?box=${boxOf(map)}`);
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
