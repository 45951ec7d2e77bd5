// Requests, with a token where one is asked for. It is kept until the tab is closed, and nowhere else.

import { at, say } from "./dom.js";

const KEY = "highwater-token";
/** The token that is being asked for; everybody who needs it waits for the same. */
let asked = null;

/** Whether requests carry a token. */
export function hasToken() {
  return sessionStorage.getItem(KEY) !== null;
}

/** A request to our own server. On 401 the person is asked for a token, and it is made again. */
export async function ask(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    const response = await fetch(path, { ...options, headers, cache: "no-store" });
    if (response.status !== 401) return response;
    await tokenAfter(token);
  }
}

/** What is wrong with an answer, as its problem document says. */
export async function problem(response) {
  const error = new Error(`status ${response.status}`);
  error.status = response.status;
  try {
    const { title, detail } = await response.json();
    error.message = detail ?? title ?? error.message;
  } catch {
    // Not from Highwater itself; the status says enough.
  }
  return error;
}

/** Waits for another token than `refused`. */
function tokenAfter(refused) {
  const token = sessionStorage.getItem(KEY);
  if (token !== refused) return Promise.resolve();
  sessionStorage.removeItem(KEY);
  asked ??= enter(refused !== null).finally(() => (asked = null));
  return asked;
}

function enter(wasRefused) {
  const dialog = at("token-dialog");
  const field = at("token");
  say(at("token-why"), wasRefused ? "That token was not accepted." : "This server asks for a bearer token.");
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
  const error = new Error("a token is needed; reload the page to enter one");
  error.status = 401;
  return error;
}
