/** A number of photos in words: “1 photo”, “12 345 photos”. */
export const photoCount = (count) => `${count.toLocaleString("en").replaceAll(",", "\u202f")} ${count === 1 ? "photo" : "photos"}`;
