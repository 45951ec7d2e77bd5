// Small helpers around the document. Text goes in as text, never as HTML.

/** The element with this id. */
export function at(id) {
  return document.getElementById(id);
}

/** A new element: `make("td", { class: "number", text: "7" }, child…)`. Other keys are attributes. */
export function make(name, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) element.setAttribute(key, value);
  }
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

/** Sets an element's text if it differs: an unchanged one must not disturb selections or screen readers. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows or hides an element. */
export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** Fills a list of terms: `[["Slot", "highwater"], …]`. Existing elements stay and only their texts change. */
export function describe(list, facts) {
  facts.forEach(([term, text], place) => {
    const group = list.children[place] ?? list.appendChild(make("div", {}, make("dt"), make("dd")));
    say(group.children[0], term);
    say(group.children[1], text);
  });
  while (list.children.length > facts.length) list.lastElementChild.remove();
}

/** The minimum interval between two announcements, in milliseconds. */
const ANNOUNCE_INTERVAL = 8000;
let announcedAt = 0;

/** Announces a text to screen readers, unless another was announced within `ANNOUNCE_INTERVAL`. */
export function announce(text) {
  const now = performance.now();
  if (announcedAt && now - announcedAt < ANNOUNCE_INTERVAL) return;
  announcedAt = now;
  at("announcer").textContent = text;
}

/** Copies text and confirms it on the button; without access to the clipboard, selects the text instead. */
export async function copy(text, source, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => (button.textContent = label), 1500);
}
