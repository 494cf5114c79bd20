// The parts of a view that follow the library (data-results), shown as the server has them now.

import { requestPage } from "./server.js";

const LINKS = ".site-nav a";

/** Replaces the parts by those of another page. Scripts that draw them listen to the events. */
export function replaceResults(page) {
  document.dispatchEvent(new CustomEvent("beforeresults"));
  for (const part of document.querySelectorAll("[data-results]")) {
    part.replaceWith(document.adoptNode(page.querySelector(`[data-results="${part.dataset.results}"]`)));
  }
  for (const [at, { ariaCurrent }] of page.querySelectorAll(LINKS).entries()) document.querySelectorAll(LINKS)[at].ariaCurrent = ariaCurrent; // the unknown photos are of Review
  document.dispatchEvent(new CustomEvent("results"));
}

export async function showResults() {
  const page = await requestPage(location.href, "main");
  const isSame = [...document.querySelectorAll("[data-results]")].every(({ dataset }) => page.querySelector(`[data-results="${dataset.results}"]`));
  if (isSame) replaceResults(page);
  else location.reload(); // the view has become empty
}
