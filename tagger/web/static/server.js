// Requests to this server, for scripts of pages.

import { gettext } from "./texts.js";

/** Tells other tabs of changes that a person made in this one. */
export const changes = new BroadcastChannel("changes");

/**
 * Sends JSON and returns the answer's. The text of an error says what can be done on the page.
 * @param {string} address
 * @param {Omit<RequestInit, "body"> & { body?: object }} options
 */
export async function requestJson(address, { body, ...options } = {}) {
  const headers = { Accept: "application/json", "HX-Request": "true", ...(body && { "Content-Type": "application/json" }) };
  const response = await respond(address, { headers, body: body && JSON.stringify(body), ...options });
  const document_ = await response.json().catch(() => null);
  if (!response.ok || !document_) throw new Error(document_?.error ?? gettext("The server responded with status %(status)s.", { status: response.status }));
  if ((options.method ?? "GET") !== "GET") changes.postMessage(null);
  return document_;
}

/** Fetches a page of this server, which must have an element with this id. */
export async function requestPage(address, id) {
  const response = await respond(address, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!response.ok || !page.getElementById(id)) throw new Error(gettext("The server responded with status %(status)s.", { status: response.status }));
  return page;
}

async function respond(address, options) {
  try {
    return await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(gettext("The server does not respond. Try again.")); // browsers say “Failed to fetch”
  }
}
