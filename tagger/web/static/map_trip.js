// The map of a trip: the path of each camera as a line, and the photos in clusters. Without WebGL, a note says so.

import { LiveMap, startOrExplain } from "./map_live.js";
import { requestJson } from "./server.js";

async function start(host) {
  const { trip, path } = host.dataset;
  const live = await LiveMap.start(host, await requestJson(path));
  const update = () => live.update({ trip }).catch((error) => console.warn("the photos cannot be loaded:", error));
  live.map.on("moveend", update);
  update();
}

const host = document.querySelector(".map-live[data-trip]");
if (host) startOrExplain(host, start);
