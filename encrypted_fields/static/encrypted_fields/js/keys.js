// A recipient's keys: made here, kept in a file that a passphrase protects, opened here. The private half is never sent.

const KIND = "cmk-recipient-key";
const ITERATIONS = 1_000_000;
const LEAST = 600_000;
const MOST = 10_000_000;
export const SHORTEST = 12; // characters of a passphrase

/** The id of a public key: the first 32 hex digits of its SHA-256. */
export async function keyId(publicKey) {
  if (publicKey.length !== 32) throw new Error("A recipient's key is not 32 bytes long.");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", publicKey));
  return sodium.to_hex(digest.subarray(0, 16));
}

/** [{id, label, publicKey}] out of what the page says. Throws when an id is not that of its key. */
export async function checkedRecipients(sent) {
  return Promise.all(
    sent.map(async ({ id, label, key }) => {
      const publicKey = base64(key);
      if ((await keyId(publicKey)) !== id) throw new Error(`The key of ${label} does not fit its fingerprint.`);
      return { id, label, publicKey };
    }),
  );
}

/** {id, publicKey, privateKey}: new. */
export async function newKey() {
  const { publicKey, privateKey } = sodium.crypto_box_keypair();
  return { id: await keyId(publicKey), publicKey, privateKey };
}

/** The text of a key file: the private half under AES-256-GCM, with a key from PBKDF2-SHA-256 of the passphrase. */
export async function protect({ publicKey, privateKey }, passphrase) {
  if ([...passphrase].length < SHORTEST) throw new Error(`Choose a passphrase of ${SHORTEST} characters or more.`);
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const file = { kind: KIND, format: 1, public_key: text(publicKey), iterations: ITERATIONS };
  const key = await derived(passphrase, salt, ITERATIONS);
  const box = await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: known(file) }, key, privateKey);
  return JSON.stringify({ ...file, salt: text(salt), iv: text(iv), box: text(new Uint8Array(box)) }, null, 1);
}

/** {id, publicKey, privateKey} of a key file's text and its passphrase. */
export async function unprotect(content, passphrase) {
  let file;
  try {
    file = JSON.parse(content);
  } catch {
    throw new Error("This is not a key file.");
  }
  if (file?.kind !== KIND || file.format !== 1) throw new Error("This is not a key file of a kind that this page knows.");
  if (!(file.iterations >= LEAST && file.iterations <= MOST)) throw new Error("This key file asks for too little or too much work.");
  const key = await derived(passphrase, base64(file.salt), file.iterations);
  const how = { name: "AES-GCM", iv: base64(file.iv), additionalData: known(file) };
  let opened;
  try {
    opened = await crypto.subtle.decrypt(how, key, base64(file.box));
  } catch {
    throw new Error("The passphrase does not open this key file.");
  }
  return whole(new Uint8Array(opened), file.public_key);
}

/** The same of a private key that was pasted as base64. */
export async function pasted(content) {
  let bytes = new Uint8Array();
  try {
    bytes = base64(content.trim());
  } catch {
    // told below
  }
  if (bytes.length !== 32) throw new Error("A private key is 32 bytes in base64.");
  return whole(bytes);
}

export function base64(value) {
  return sodium.from_base64(value, sodium.base64_variants.ORIGINAL);
}

export function text(bytes) {
  return sodium.to_base64(bytes, sodium.base64_variants.ORIGINAL);
}

async function whole(privateKey, expected) {
  const publicKey = sodium.crypto_scalarmult_base(privateKey);
  if (expected !== undefined && text(publicKey) !== expected) throw new Error("This key file was changed.");
  return { id: await keyId(publicKey), publicKey, privateKey };
}

const known = ({ kind, format, public_key, iterations }) =>
  new TextEncoder().encode(`${kind} ${format} ${iterations} ${public_key}`);

async function derived(passphrase, salt, iterations) {
  const typed = new TextEncoder().encode(passphrase.normalize("NFC"));
  const base = await crypto.subtle.importKey("raw", typed, "PBKDF2", false, ["deriveKey"]);
  const how = { name: "PBKDF2", hash: "SHA-256", salt, iterations };
  return crypto.subtle.deriveKey(how, base, { name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
}
