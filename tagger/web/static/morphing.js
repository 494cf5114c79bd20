// Parts of a page that are morphed into what the server answers: elements that stay the same keep the focus, and what was opened stays open.

const { Idiomorph } = window;

Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) => name !== "open" || !(element instanceof HTMLDetailsElement);
