// Rows of photos that fill the width: every photo keeps its shape, and the photos of a row have one height.

export const GAP = 4; // px between photos
const USUAL_ASPECT = 4 / 3; // of photos whose size is unknown
const [LEAST_ASPECT, MOST_ASPECT] = [0.5, 3.5]; // photos beyond are cut off
const FULL = 0.97; // a last row that is filled to this part is stretched to the whole width

/** The height that rows should have in a grid of this width, in px: of phones, tablets and desktops. */
const rowHeight = (width) => (width < 560 ? 110 : width < 1100 ? 190 : 220);

export function aspectOf({ width, height }) {
  return Math.max(LEAST_ASPECT, Math.min(MOST_ASPECT, width && height ? width / height : USUAL_ASPECT));
}

/** The boxes of photos, and the height of all rows. The last row is filled unless photos `end` with it. */
export function justify(aspects, width, end) {
  const boxes = [];
  let top = 0;
  const target = rowHeight(width);
  const rows = filledRows(aspects, width, target);
  if (!end) {
    // More photos follow: the last rows are of about the same length.
    const [from] = rows.splice(-2)[0];
    rows.push(...evenRows(aspects.slice(from), width, target).map(([first, last]) => [from + first, from + last]));
  }
  for (const [from, to] of rows) {
    const row = aspects.slice(from, to);
    const fitting = (width - GAP * (row.length - 1)) / sum(row);
    const height = end && to === aspects.length && fitting * FULL > target ? target : fitting;
    let left = 0;
    for (const aspect of row) {
      boxes.push({ left, top, width: aspect * height, height });
      left += aspect * height + GAP;
    }
    top += height + GAP;
  }
  return { boxes, height: top };
}

/** Rows that are filled one after the other, as [from, to]; the last one may stay short. */
function filledRows(aspects, width, target) {
  const rows = [];
  let [from, used] = [0, 0];
  aspects.forEach((aspect, index) => {
    used += aspect * target + GAP;
    if (used - GAP < width * FULL && index < aspects.length - 1) return;
    rows.push([from, index + 1]);
    [from, used] = [index + 1, 0];
  });
  return rows;
}

/** Rows of about the same length, as [from, to]. */
function evenRows(aspects, width, target) {
  const lengths = aspects.map((aspect) => aspect * target + GAP);
  const whole = sum(lengths);
  const count = Math.max(1, Math.round(whole / (width + GAP)));
  const rows = [];
  let [from, used] = [0, 0];
  lengths.forEach((length, index) => {
    // A photo belongs to the row that has its middle.
    const row = Math.floor(((used + length / 2) / whole) * count);
    const following = index + 1 < lengths.length ? Math.floor(((used + length + lengths[index + 1] / 2) / whole) * count) : count;
    used += length;
    if (following === row) return;
    rows.push([from, index + 1]);
    from = index + 1;
  });
  return rows;
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
