// Zooming and panning the photo of the lightbox: wheel, pinch, double tap, drag, keys. At its normal size, a swipe leads to the photo
// beside it, which is seen meanwhile, up to the details, or down to the grid.

const MAX_SCALE = 8;
const TAP_SCALE = 2.5;
const KEY_FACTOR = 1.5;
const KEY_PAN = 0.2; // of the stage
const WHEEL_RATE = 0.0015;
const PINCH_WHEEL_RATE = 0.01; // a pinch on a touchpad arrives as a wheel with Ctrl
const DOUBLE_TAP_MS = 320;
const TAP_PX = 24;
const AXIS_PX = 8; // from here on, a drag leads across or up and down, and stays so
const SWIPE_PX = 60;
const DISMISS_PX = 110;
const GAP_PX = 24; // between two photos
const END_SHARE = 0.3; // how far the first and the last photo follow a finger
const GLIDE = { duration: 180, easing: "ease-out" };
const SHARP_SCALE = 1.2; // from here on, the preview is not enough

const isCalm = matchMedia("(prefers-reduced-motion: reduce)");
const shift = (x, y = 0) => `translate(${x}px, ${y}px)`;

/**
 * `onSwipe` gets 1 or -1, and `imageBeside` returns the image it leads to, if there is one. `onRaise` is a swipe up, `onDismiss` one down.
 * `onSharp` is called when the photo needs more pixels than its preview has.
 */
export class Zoom {
  constructor(stage, actions) {
    this.stage = stage;
    this.actions = actions;
    this.pointers = new Map();
    this.image = null;
    this.beside = null; // the image that a swipe brings into view
    this.reset();
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    stage.addEventListener("pointerup", (event) => this.up(event));
    stage.addEventListener("pointercancel", () => this.cancel());
    new ResizeObserver(() => this.draw()).observe(stage);
  }

  get isZoomed() {
    return this.scale > 1;
  }

  /** Shows another image at its normal size. */
  start(image) {
    stop(image);
    [this.image, this.beside] = [image, null];
    this.reset();
    this.draw();
  }

  /** Takes an image with more pixels of the same photo. */
  sharpen(image) {
    this.image.replaceWith(image);
    this.image = image;
    this.draw();
  }

  reset() {
    this.scale = 1;
    [this.x, this.y, this.drag] = [0, 0, null];
    this.pointers.clear();
    this.lastTap = null;
  }

  // ----- scale and offset -----

  /** Scales by a factor around a point, in pixels from the middle of the stage. */
  scaleBy(factor, { x, y } = { x: 0, y: 0 }) {
    const scale = Math.min(MAX_SCALE, Math.max(1, this.scale * factor));
    const ratio = scale / this.scale;
    [this.x, this.y, this.scale] = [x - (x - this.x) * ratio, y - (y - this.y) * ratio, scale];
    this.draw();
  }

  panBy(x, y) {
    this.x += x;
    this.y += y;
    this.draw();
  }

  draw() {
    if (!this.image) return;
    const { width, height } = this.fittedSize();
    const limit = (size, space) => Math.max(0, (size * this.scale - space) / 2);
    const [x, y] = [limit(width, this.stage.clientWidth), limit(height, this.stage.clientHeight)];
    this.x = Math.min(x, Math.max(-x, this.x));
    this.y = Math.min(y, Math.max(-y, this.y));
    this.image.style.transform = this.isZoomed ? `translate(${this.x}px, ${this.y}px) scale(${this.scale})` : "";
    this.stage.toggleAttribute("data-zoomed", this.isZoomed);
    if (this.scale >= SHARP_SCALE) this.actions.onSharp();
  }

  /** The size of the whole photo in the stage. */
  fittedSize() {
    const { naturalWidth: width, naturalHeight: height } = this.image;
    if (!width) return { width: 0, height: 0 }; // it is still loading
    const scale = Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height);
    return { width: width * scale, height: height * scale };
  }

  pointOf({ clientX, clientY }) {
    const box = this.stage.getBoundingClientRect();
    return { x: clientX - box.left - box.width / 2, y: clientY - box.top - box.height / 2 };
  }

  // ----- wheel and keys -----

  wheel(event) {
    event.preventDefault();
    const rate = event.ctrlKey ? PINCH_WHEEL_RATE : WHEEL_RATE;
    const pixels = event.deltaY * (event.deltaMode ? 16 : 1); // else in lines
    this.scaleBy(Math.exp(-pixels * rate), this.pointOf(event));
  }

  /** Returns whether the key does anything. */
  pressKey({ key, shiftKey }) {
    const pan = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key];
    if (shiftKey && pan) this.panBy(pan[0] * KEY_PAN * this.stage.clientWidth, pan[1] * KEY_PAN * this.stage.clientHeight);
    else if (key === "+" || key === "=") this.scaleBy(KEY_FACTOR);
    else if (key === "-") this.scaleBy(1 / KEY_FACTOR);
    else if (key === "0") this.scaleBy(0);
    else return false;
    return true;
  }

  // ----- pointers -----

  down(event) {
    if (event.button) return;
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.pointOf(event));
    if (this.pointers.size === 1) this.drag = { x: 0, y: 0, isTap: true };
    else if (this.drag) {
      this.drag.isPinch = true;
      this.rest();
    }
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before || !this.drag) return;
    const point = this.pointOf(event);
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, each]) => each);
    this.pointers.set(event.pointerId, point);
    if (others.length) return this.pinch(before, point, others[0]);
    this.drag.x += point.x - before.x;
    this.drag.y += point.y - before.y;
    if (Math.hypot(this.drag.x, this.drag.y) > TAP_PX) this.drag.isTap = false;
    if (this.isZoomed) this.panBy(point.x - before.x, point.y - before.y);
    else if (!this.drag.isPinch && this.image) this.follow(this.drag);
  }

  /** Moves the photo with the finger; across, the photo beside it comes along. */
  follow(drag) {
    const { x, y } = drag;
    if (Math.hypot(x, y) > AXIS_PX) drag.axis ??= Math.abs(x) > Math.abs(y) ? "x" : "y";
    if (drag.axis !== "x") return void (this.image.style.transform = shift(0, y));
    const step = x < 0 ? 1 : -1;
    this.bringBeside(this.actions.imageBeside(step));
    const offset = this.beside ? x : x * END_SHARE;
    this.image.style.transform = shift(offset);
    if (this.beside) this.beside.style.transform = shift(offset + step * (this.stage.clientWidth + GAP_PX));
  }

  bringBeside(image) {
    if (image === this.beside) return;
    this.beside?.remove();
    this.beside = image;
    if (!image) return;
    stop(image);
    this.stage.append(image);
  }

  /** Leads to the photo beside this one; both go on from where the finger left them. */
  slide(step) {
    const { image: leaving, beside: arriving } = this;
    const [from, to] = [leaving, arriving ?? leaving].map((image) => image.style.transform);
    this.actions.onSwipe(step);
    if (this.image !== arriving) return this.settle();
    this.stage.append(leaving);
    glide(arriving, to, "none");
    const isShown = () => [this.image, this.beside].includes(leaving); // again: a swipe may lead back at once
    glide(leaving, from, shift(-step * (this.stage.clientWidth + GAP_PX))).finally(() => isShown() || leaving.remove());
  }

  /** Puts the photo back after a drag that led nowhere. */
  settle() {
    const { transform } = this.image.style;
    this.rest();
    if (transform) glide(this.image, transform, "none");
  }

  pinch(before, point, other) {
    const distance = (one) => Math.hypot(one.x - other.x, one.y - other.y);
    const middle = (one) => ({ x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 });
    const [from, to] = [middle(before), middle(point)];
    this.scaleBy(distance(point) / Math.max(1, distance(before)), to);
    this.panBy(to.x - from.x, to.y - from.y);
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size || !this.drag) return;
    const { x, y, axis, isTap, isPinch } = this.drag;
    this.drag = null;
    const isSwipe = !isPinch && !isTap && !this.isZoomed && this.image;
    if (isSwipe && axis === "x" && Math.abs(x) > SWIPE_PX) return this.slide(x < 0 ? 1 : -1);
    if (isSwipe) this.settle();
    else this.rest();
    if (isTap && !isPinch) this.tap(event);
    else if (isSwipe && axis === "y" && y < -SWIPE_PX) this.actions.onRaise();
    else if (isSwipe && axis === "y" && y > DISMISS_PX) this.actions.onDismiss();
  }

  cancel() {
    this.pointers.clear();
    this.drag = null;
    this.rest();
  }

  rest() {
    this.bringBeside(null);
    this.draw();
  }

  tap(event) {
    const point = this.pointOf(event);
    const { lastTap } = this;
    const isDouble = lastTap && event.timeStamp - lastTap.at < DOUBLE_TAP_MS && Math.hypot(point.x - lastTap.x, point.y - lastTap.y) < TAP_PX;
    this.lastTap = isDouble ? null : { ...point, at: event.timeStamp };
    if (isDouble) this.scaleBy(this.isZoomed ? 0 : TAP_SCALE, point);
  }
}

function stop(image) {
  for (const animation of image.getAnimations()) animation.cancel();
}

/** Moves an image to its place; resolves once it is there, or at once for people who want no motion. */
function glide(image, from, to) {
  if (isCalm.matches) return Promise.resolve();
  return image.animate([{ transform: from }, { transform: to }], GLIDE).finished.catch(() => {});
}
