// Elements that scripts add to a page. Text is added as text, never as HTML.

/** Creates an element with properties of its interface, other attributes by their names, and children. */
export function create(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** Loads a classic script. */
export function loadScript(address) {
  return new Promise((resolve, reject) => {
    const onerror = () => reject(new Error(`cannot load ${address}`));
    document.head.append(create("script", { src: address, onload: resolve, onerror }));
  });
}

/** Creates a button; `kind` are its further classes. */
export const createButton = (text, run, kind = "", properties = {}) =>
  create("button", { type: "button", className: `button ${kind}`.trim(), onclick: run, ...properties }, text);
