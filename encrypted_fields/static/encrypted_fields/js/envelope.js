// What is sealed in one browser and opened in another: docs/formats.md section 9. libsodium is the global `sodium`.

const MAGIC = [67, 77, 75, 69, 1]; // "CMKE", version 1
const TEXT = 0;
const FILE = 1;
const ID = 16;
const BOX = 80;
const HEADER = 24;
const TAG = 17;
const STEP = 64;
const ABOUT = 1024;
export const CHUNK = 65536;
const BROKEN = "This cannot be opened: it was changed, moved, or sealed for somebody else.";

/** The sealed bytes of a text. `recipients` is [{id, publicKey}], `place` the bytes that name where it belongs. */
export function sealText(text, recipients, place, bound) {
  const stream = begin(TEXT, recipients, place, bound);
  const plain = sodium.from_string(text);
  const padded = sodium.pad(plain, STEP);
  const sealed = join([stream.head, stream.push(padded, true)]);
  sodium.memzero(plain);
  sodium.memzero(padded);
  return sealed;
}

/** A Blob of a File: its name and type are sealed with it. It is read and sealed in pieces of 64 KiB. */
export async function sealFile(file, recipients, place, bound) {
  const stream = begin(FILE, recipients, place, bound);
  const parts = [stream.head, stream.push(about(file), false)];
  for (let at = 0; at === 0 || at < file.size; at += CHUNK) {
    const piece = new Uint8Array(await file.slice(at, at + CHUNK).arrayBuffer());
    parts.push(stream.push(piece, at + CHUNK >= file.size));
    sodium.memzero(piece);
  }
  return new Blob(parts, { type: "application/octet-stream" });
}

/** {text} or {name, type, blob}. Throws when it is not for this key, or not for this place, or was changed. */
export function open(sealed, key, place) {
  const { kind, bound, ids, boxes, head, header, body } = parse(sealed);
  const mine = ids.indexOf(key.id);
  if (mine < 0) throw new Error("This was not sealed for your key.");
  try {
    const content = sodium.crypto_box_seal_open(boxes[mine], key.publicKey, key.privateKey);
    const state = sodium.crypto_secretstream_xchacha20poly1305_init_pull(header, content);
    sodium.memzero(content);
    const pull = (chunk, last) => {
      const found = sodium.crypto_secretstream_xchacha20poly1305_pull(state, chunk, join([head, place]));
      if (!found || found.tag !== (last ? FINAL() : MESSAGE())) throw new Error(BROKEN);
      return found.message;
    };
    return kind === TEXT ? { bound, text: text(pull(body, true)) } : { bound, ...file(body, pull) };
  } catch {
    throw new Error(BROKEN);
  }
}

/** What is written outside of the seal. */
export function parse(sealed) {
  const count = sealed[7];
  const start = 8 + count * (ID + BOX);
  const fits = MAGIC.every((byte, at) => sealed[at] === byte) && sealed[5] <= FILE && sealed[6] <= 1;
  if (!fits || !count || sealed.length < start + HEADER + TAG) throw new Error(BROKEN);
  const entries = Array.from({ length: count }, (_, n) => sealed.subarray(8 + n * (ID + BOX), 8 + (n + 1) * (ID + BOX)));
  return {
    kind: sealed[5],
    bound: sealed[6] === 1,
    ids: entries.map((entry) => sodium.to_hex(entry.subarray(0, ID))),
    boxes: entries.map((entry) => entry.subarray(ID)),
    head: join([sealed.subarray(0, 8), ...entries.map((entry) => entry.subarray(0, ID))]),
    header: sealed.subarray(start, start + HEADER),
    body: sealed.subarray(start + HEADER),
  };
}

export function join(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const MESSAGE = () => sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE;
const FINAL = () => sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL;

function begin(kind, recipients, place, bound) {
  if (!recipients.length) throw new Error("There is nobody to seal it to.");
  const sorted = [...recipients].sort((a, b) => (a.id < b.id ? -1 : 1));
  const fixed = new Uint8Array([...MAGIC, kind, bound ? 1 : 0, sorted.length]);
  const key = sodium.crypto_secretstream_xchacha20poly1305_keygen();
  const { state, header } = sodium.crypto_secretstream_xchacha20poly1305_init_push(key);
  const boxes = sorted.map(({ id, publicKey }) => join([sodium.from_hex(id), sodium.crypto_box_seal(key, publicKey)]));
  sodium.memzero(key);
  const known = join([fixed, ...sorted.map(({ id }) => sodium.from_hex(id)), place]);
  return {
    head: join([fixed, ...boxes, header]),
    push: (bytes, last) =>
      sodium.crypto_secretstream_xchacha20poly1305_push(state, bytes, known, last ? FINAL() : MESSAGE()),
  };
}

function text(padded) {
  return sodium.to_string(sodium.unpad(padded, STEP));
}

/** Name and type, padded to one length. A name that is too long is shortened. */
function about({ name, type }) {
  for (let length = name.length; ; length--) {
    const plain = sodium.from_string(JSON.stringify({ name: name.slice(0, length), type: type.slice(0, 100) }));
    if (plain.length < ABOUT) return sodium.pad(plain, ABOUT);
  }
}

function file(body, pull) {
  const { name, type } = JSON.parse(sodium.to_string(sodium.unpad(pull(body.subarray(0, ABOUT + TAG), false), ABOUT)));
  const parts = [];
  for (let at = ABOUT + TAG; at === ABOUT + TAG || at < body.length; at += CHUNK + TAG) {
    const last = at + CHUNK + TAG >= body.length;
    parts.push(pull(body.subarray(at, at + CHUNK + TAG), last));
    if (!parts.at(-1).length && parts.length > 1) throw new Error(BROKEN);
  }
  // whatever the sender called it, a page of this site must not come out of it
  return { name, type, blob: new Blob(parts, { type: "application/octet-stream" }) };
}
