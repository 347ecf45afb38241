// The document inside a sealed box, byte for byte as tsp/contract/tenant.py writes it: sorted members, no spaces, UTF-8.

export const FORMAT = 1;

/** The document of one version for one proxy key. `draft` is {config, version, previous}; `body` what the form gave. */
export function documentFor({ vendor, tenant, kind, draft, created, key, body }) {
  return { format: FORMAT, vendor, tenant, kind, ...draft, created, tsp_key: key, body };
}

/** Members in sorted order at every depth. All names are ASCII, so code units sort as Python sorts. */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
}
