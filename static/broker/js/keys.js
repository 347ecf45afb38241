// Proxy keys: their ids are computed here, never believed, and remembered from one sealing to the next.

/** The id of a public key: the first 32 hex digits of its SHA-256. */
export async function keyId(publicKey) {
  if (publicKey.length !== 32) throw new Error("A proxy key is not 32 bytes long.");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", publicKey));
  return Array.from(digest.slice(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** [{id, publicKey}] out of what the portal sent. Throws when an id is not that of its key, or is not on the page. */
export async function checkedKeys(sent, shown) {
  const keys = await Promise.all(
    sent.map(async ({ id, public_key: text }) => {
      const publicKey = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      if ((await keyId(publicKey)) !== id || !shown.includes(id)) {
        throw new Error("A proxy key does not fit its fingerprint. Do not go on, and tell your vendor.");
      }
      return { id, publicKey };
    }),
  );
  if (!keys.length) throw new Error("Your vendor has not registered a proxy key yet, so there is nothing to seal to.");
  return keys;
}

/** "new" when nothing was ever sealed from this browser, otherwise "known" or "changed". */
export function familiarity(vendor, keys) {
  const before = localStorage.getItem(place(vendor));
  if (before === null) return "new";
  return before === list(keys) ? "known" : "changed";
}

export function remember(vendor, keys) {
  localStorage.setItem(place(vendor), list(keys));
}

const place = (vendor) => `cmk-proxy-keys/${vendor}`;
const list = (keys) => keys.map((key) => key.id).sort().join(" ");
