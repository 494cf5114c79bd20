// The state of jobs as the server sends it: one connection for all scripts of a page, and none while the page is hidden.
// Browsers hold few connections to a server, and each open page would take one.

const RETRY_MS = 4000;
const MAX_RETRY_MS = 60000;
const listeners = [];
let source = null;
let retry = null;
let retryMs = RETRY_MS;

/** Calls `onState` with each state, which is always complete, and `onLost` with whether the connection is lost. */
export function followJobs(onState, onLost = () => {}) {
  listeners.push({ onState, onLost });
  connect();
}

function connect() {
  clearTimeout(retry);
  if (source || document.hidden) return;
  const opened = (source = new EventSource("/api/events"));
  opened.addEventListener("state", (event) => {
    retryMs = RETRY_MS;
    const state = JSON.parse(event.data);
    for (const { onState, onLost } of listeners) (onLost(false), onState(state));
  });
  opened.addEventListener("error", () => {
    if (source !== opened) return;
    for (const { onLost } of listeners) onLost(true);
    // Browsers reconnect by themselves, but not after an error status, such as that of too many listeners.
    if (opened.readyState !== EventSource.CLOSED) return;
    source = null;
    retry = setTimeout(connect, retryMs);
    retryMs = Math.min(2 * retryMs, MAX_RETRY_MS);
  });
}

function disconnect() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : listeners.length && connect()));
// A page in the back-forward cache must not hold a connection.
addEventListener("pagehide", disconnect);
addEventListener("pageshow", (event) => event.persisted && listeners.length && connect());
