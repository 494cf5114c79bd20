// Parts of a page that are morphed into what the server answers: elements that stay the same keep the focus, and what was opened stays open.

const { Idiomorph } = window; // none for visitors of a share

if (Idiomorph) Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) => name !== "open" || !(element instanceof HTMLDetailsElement);
