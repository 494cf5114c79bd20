/** A number of photos in words: “1 photo”, “12 photos”. */
export const photoCount = (count) => `${count} ${count === 1 ? "photo" : "photos"}`;
