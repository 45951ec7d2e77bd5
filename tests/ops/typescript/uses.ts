// Uses of the types that openapi-typescript makes of the document: it compiles only if they are precise.

import type { components, operations, paths } from "./api.js";

type Changes = components["schemas"]["Changes"];
type Change = components["schemas"]["Change"];
type Query = NonNullable<operations["getChanges"]["parameters"]["query"]>;
type Store = components["schemas"]["StoreBody"];
type Problem = components["schemas"]["Problem"];

const query: Query = { tables: "items,users", after: "5f3a9c01-0000000001a2b3c8", wait: "30s", limit: 5, include: "rows" };
// @ts-expect-error `include` is an enumeration.
const wrongQuery: Query = { include: "columns" };

/** Applies a response to a map of rows, without a cast. */
export function apply(rows: Map<string, Record<string, unknown>>, response: Changes): string {
  for (const change of response.changes) {
    const key = keyOf(change);
    if (change.op === "delete") rows.delete(key);
    else if (change.row) rows.set(key, change.row);
  }
  return response.version;
}

function keyOf({ table, id }: Change): string {
  const values: (number | string | boolean)[] = Array.isArray(id) ? id : [id];
  return [table, ...values].join(",");
}

export function sizes(store: Store): number[] {
  return (store["items"] ?? []).map((row) => Object.keys(row).length);
}

export function isRetried(problem: Problem): boolean {
  // @ts-expect-error There is no such type of problem.
  if (problem.type === "urn:highwater:problem:no-such-type") return false;
  return problem.type === "urn:highwater:problem:not-ready";
}

export type Row = paths["/v1/tables/{table}/rows/{id}"]["get"]["responses"][200]["content"]["application/json"];
export const unused = [query, wrongQuery];
