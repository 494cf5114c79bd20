// What the type checker of the page's scripts cannot know: which elements the templates have, and what classic scripts define.

interface ParentNode {
  querySelector(selectors: string): any;
  querySelectorAll(selectors: string): NodeListOf<any>;
}

interface NonElementParentNode {
  getElementById(id: string): any;
}

interface Document {
  readonly activeElement: any;
  getElementById(id: string): any;
}

interface Element {
  closest(selectors: string): any;
}

/** Scripts listen to events of elements. */
interface EventTarget {
  closest(selectors: string): any;
}

interface DocumentEventMap {
  photosfailed: CustomEvent<string>;
  "htmx:responseError": CustomEvent;
  "htmx:sendError": CustomEvent;
}

interface Window {
  Idiomorph: any;
  htmx: any;
  basemaps: any;
  pmtiles: any;
}
