// Selecting an area on the map: with the button, or with Shift, a drag draws a rectangle and opens its photos.

import { create, createButton } from "./elements.js";
import { gettext } from "./texts.js";

const LEAST_PX = 8; // a shorter drag is a click

/** A longitude between -180 and 180. */
const turned = (longitude) => ((((longitude + 180) % 360) + 360) % 360) - 180;

/** The option of a query for these corners: south, west, north, east. */
export function boxText(south, west, north, east) {
  const sides = east - west >= 360 ? [-180, 180] : [turned(west), turned(east)];
  return [south, sides[0], north, sides[1]].map((degrees) => Number(degrees.toFixed(5))).join(",");
}

export class AreaSelection {
  /** `onSelect` is called with the option of a query. */
  constructor(map, host, onSelect) {
    this.map = map;
    this.host = host;
    this.onSelect = onSelect;
    this.isOn = false;
    map.boxZoom.disable(); // it has Shift, too
    map.addControl({ onAdd: () => this.createButton(), onRemove: () => this.button.remove() }, "top-left");
    // Before the map's own handlers, which listen to the mouse and to touches.
    host.addEventListener("pointerdown", (event) => this.start(event), true);
    addEventListener("keydown", (event) => event.key === "Escape" && this.isOn && this.setOn(false));
  }

  createButton() {
    const state = { "aria-pressed": "false", title: gettext("Drag a rectangle on the map; also with Shift") };
    this.button = createButton(gettext("Select area"), () => this.setOn(!this.isOn), "button--small maplibregl-ctrl map-area-button", state);
    return this.button;
  }

  setOn(isOn) {
    this.isOn = isOn;
    this.button.setAttribute("aria-pressed", String(isOn));
    this.host.toggleAttribute("data-selecting", isOn);
    this.hold(isOn);
  }

  /** Keeps the map in place while a rectangle is drawn. */
  hold(isHeld) {
    for (const handler of [this.map.dragPan, this.map.touchZoomRotate]) isHeld ? handler.disable() : handler.enable();
    if (!isHeld) this.map.touchZoomRotate.disableRotation();
  }

  start(event) {
    if (event.button || !event.isPrimary || !(this.isOn || event.shiftKey) || event.target.closest("a, button, summary")) return;
    event.preventDefault();
    this.hold(true);
    const from = this.place(event);
    const rectangle = create("div", { className: "map-area" });
    this.host.append(rectangle);
    this.host.setPointerCapture(event.pointerId);
    const following = new AbortController();
    const { signal } = following;
    const end = () => (following.abort(), rectangle.remove(), this.setOn(false));
    this.host.addEventListener("pointermove", (moved) => this.draw(rectangle, from, this.place(moved)), { signal });
    this.host.addEventListener("pointerup", (last) => (end(), this.select(from, this.place(last))), { signal });
    this.host.addEventListener("pointercancel", end, { signal });
  }

  place({ clientX, clientY }) {
    const { left, top, width, height } = this.host.getBoundingClientRect();
    return { x: Math.max(0, Math.min(width, clientX - left)), y: Math.max(0, Math.min(height, clientY - top)) };
  }

  draw(rectangle, from, to) {
    rectangle.style.left = `${Math.min(from.x, to.x)}px`;
    rectangle.style.top = `${Math.min(from.y, to.y)}px`;
    rectangle.style.width = `${Math.abs(from.x - to.x)}px`;
    rectangle.style.height = `${Math.abs(from.y - to.y)}px`;
  }

  select(from, to) {
    if (Math.min(Math.abs(from.x - to.x), Math.abs(from.y - to.y)) < LEAST_PX) return;
    const southWest = this.map.unproject([Math.min(from.x, to.x), Math.max(from.y, to.y)]);
    const northEast = this.map.unproject([Math.max(from.x, to.x), Math.min(from.y, to.y)]);
    this.onSelect(boxText(southWest.lat, southWest.lng, northEast.lat, northEast.lng));
  }
}
