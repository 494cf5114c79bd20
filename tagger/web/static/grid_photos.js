// The photos of a grid, as tiles and as documents of the API.

export function photoOfTile(tile) {
  const image = tile.querySelector("img");
  const name = tile.querySelector(".photo-tile-name").textContent;
  return {
    id: Number(tile.dataset.photo),
    version: new URL(image.src, location.origin).searchParams.get("v"), // a tile may be without its thumbnail as yet
    alt: image.alt,
    name,
    file: name ? image.alt.slice(name.length + 2) : image.alt,
  };
}

export function photoOfDocument({ id, path, digest, tags }) {
  const name = tags.find((tag) => tag.accepted)?.name ?? "";
  const file = path.slice(path.lastIndexOf("/") + 1);
  return { id, version: digest?.slice(-16), name, file, alt: altOf(name, file) };
}

export const altOf = (name, file) => (name ? `${name}, ${file}` : file);

export const thumbnailAddress = (photo, size) => `/api/photos/${photo.id}/thumbnail?size=${size}${version(photo, "&")}`;

export const previewAddress = (photo) => `/api/photos/${photo.id}/preview${version(photo, "?")}`;

function version(photo, separator) {
  return photo.version ? `${separator}v=${encodeURIComponent(photo.version)}` : "";
}
