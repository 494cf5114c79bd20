// The small map beside a photo: where it was taken.

import { create } from "./elements.js";
import { LiveMap, startOrExplain } from "./map_live.js";

async function start(host) {
  const live = await LiveMap.start(host);
  live.mark(Number(host.dataset.longitude), Number(host.dataset.latitude));
}

/** Draws the map of a figure that is in the page. */
export function showPhotoMap(figure) {
  const host = figure.querySelector(".map-live");
  if ("started" in host.dataset) return;
  document.head.append(create("link", { rel: "stylesheet", href: figure.dataset.styleOfMap }));
  startOrExplain(host, start);
}
