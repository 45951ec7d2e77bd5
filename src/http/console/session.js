// Requests, with a token where one is required. It is stored in this tab until the tab is closed, and nowhere else.

import { at, say } from "./dom.js";

const KEY = "highwater-token";
/** The dialog that is open; all requests that need a token wait for the same one. */
let dialogResult = null;

/** Whether requests carry a token. */
export function hasToken() {
  return sessionStorage.getItem(KEY) !== null;
}

/** A request to the page's own server. After a 401 the user enters a token, and the request is sent again. */
export async function ask(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    const response = await fetch(path, { ...options, headers, cache: "no-store" });
    if (response.status !== 401) return response;
    await tokenAfter(token);
  }
}

/** The error of a response, from its problem document. */
export async function problem(response) {
  const error = new Error(`status ${response.status}`);
  error.status = response.status;
  try {
    const { title, detail } = await response.json();
    error.message = detail ?? title ?? error.message;
  } catch {
    // A response of a proxy: only the status is known.
  }
  return error;
}

/** Waits for a token other than `rejected`. */
function tokenAfter(rejected) {
  const token = sessionStorage.getItem(KEY);
  if (token !== rejected) return Promise.resolve();
  sessionStorage.removeItem(KEY);
  dialogResult ??= enter(rejected !== null).finally(() => (dialogResult = null));
  return dialogResult;
}

function enter(wasRejected) {
  const dialog = at("token-dialog");
  const field = at("token");
  say(at("token-why"), wasRejected ? "That token was not accepted." : "This server requires a bearer token.");
  field.value = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    const done = (event) => {
      event.preventDefault();
      const given = event.type === "submit" && field.value.trim();
      if (event.type === "submit" && !given) return;
      at("token-form").removeEventListener("submit", done);
      dialog.removeEventListener("cancel", done);
      at("token-cancel").removeEventListener("click", done);
      dialog.close();
      field.value = "";
      if (!given) return reject(withoutToken());
      sessionStorage.setItem(KEY, given);
      document.dispatchEvent(new Event("token"));
      resolve();
    };
    at("token-form").addEventListener("submit", done);
    dialog.addEventListener("cancel", done);
    at("token-cancel").addEventListener("click", done);
  });
}

function withoutToken() {
  const error = new Error("a token is required; reload the page to enter one");
  error.status = 401;
  return error;
}
