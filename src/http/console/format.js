// Values as text for people.

const number = new Intl.NumberFormat("en");

/** `12,345` */
export function count(value) {
  return number.format(value);
}

/** `1 change`, `2 changes` */
export function plural(value, word) {
  return `${count(value)} ${word}${value === 1 ? "" : "s"}`;
}

/** `4.2 MiB` */
export function bytes(value) {
  if (value === null || value === undefined) return "unknown";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(unit === 0 || value >= 100 ? 0 : 1)} ${units[unit]}`;
}

/** `3 min`, `2 h 5 min`, `4 d`: with one unit or two. */
export function duration(seconds) {
  if (seconds < 1) return "less than 1 s";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} d`;
}

/** `14:03:07.412`, in this browser's time zone. */
export function clock(time) {
  const date = time ? new Date(time) : new Date();
  const two = (part) => String(part).padStart(2, "0");
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${milliseconds}`;
}

/** A share as a percentage, which is 100 only if it is all of it. */
export function percent(part, whole) {
  if (whole === 0) return "none yet";
  const exact = (100 * part) / whole;
  return `${part === whole ? 100 : Math.min(99.9, Math.round(exact * 10) / 10)} %`;
}

/** A number as it was sent, where JavaScript's number would differ. */
class Exact {
  constructor(source) {
    this.source = source;
  }
}

/** Parses JSON without losing digits of numbers, in browsers whose revivers get the source text. */
export function parse(text) {
  return JSON.parse(text, (_, value, context) => {
    const differs = typeof value === "number" && context && String(value) !== context.source;
    return differs ? new Exact(context.source) : value;
  });
}

/** A value of `parse` as text: an id, or a column. */
export function shown(value) {
  if (value instanceof Exact) return value.source;
  if (Array.isArray(value)) return `[${value.map(shown).join(", ")}]`;
  if (value !== null && typeof value === "object") return JSON.stringify(value);
  return String(value);
}
