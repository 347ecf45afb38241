// A second, independent reader of the formats in docs/formats.md: WebCrypto for everything but the sealed box.
// Usage: node second.mjs FILE.json  → one line a vector, "name opens HEX" or "name refused"; shares no code with the project.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { subtle } = globalThis.crypto;
const text = new TextEncoder();
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const unhex = (string) => new Uint8Array(Buffer.from(string, "hex"));
const join = (...parts) => new Uint8Array(Buffer.concat(parts.map((p) => Uint8Array.from(p))));
const same = (a, b) => hex(a) === hex(b);
const digest = async (data) => new Uint8Array(await subtle.digest("SHA-256", data));
const u32 = (n) => { const out = Buffer.alloc(4); out.writeUInt32BE(n); return out; };
const need = (fine) => { if (!fine) throw new Error("refused"); };

// section 1
const canonical = (label, ...parts) =>
  join(u32(text.encode(label).length), text.encode(label), u32(parts.length), ...parts.flatMap((p) => [u32(p.length), p]));
const place = (v, label) =>
  canonical(label, ...[v.tenant, v.model, v.field].map((p) => text.encode(p)), ...(v.row === null ? [] : [unhex(v.row)]));

async function gcm(key, nonce, sealed, aad) {
  need(sealed.length >= 16);
  const imported = await subtle.importKey("raw", key, "AES-GCM", false, ["decrypt"]);
  return new Uint8Array(await subtle.decrypt({ name: "AES-GCM", iv: nonce, additionalData: aad }, imported, sealed));
}
async function hkdf(key, salt, info, size) {
  const imported = await subtle.importKey("raw", key, "HKDF", false, ["deriveBits"]);
  return new Uint8Array(await subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, imported, size * 8));
}
async function hmac(key, data) {
  const imported = await subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await subtle.sign("HMAC", imported, data));
}
function headed(data, magic) {
  const size = (data[magic] << 8) | data[magic + 1];
  need(data.length >= magic + 2 && size > 0 && size <= 4096 && data.length >= magic + 2 + size);
  return magic + 2 + size;
}

// section 2
async function value(v) {
  const data = unhex(v.stored);
  const prefix = join(text.encode("CMK"), [1, v.row === null ? 0 : 1]);
  need(same(data.slice(0, 5), prefix));
  const body = data.slice(headed(data, 5));
  return gcm(unhex(v.dek), body.slice(0, 12), body.slice(12), join(prefix, place(v, "cmk/value/1")));
}

// section 3
async function file(v) {
  const data = unhex(v.sealed), named = data[4] === 2, magic = join(text.encode("CMKF"), [named ? 2 : 1]), chunk = 65536 + 16;
  need(same(data.slice(0, 5), magic));
  const start = headed(data, 5), salt = data.slice(start, start + 16), end = named ? headed(data, start + 16) : start + 16;
  const key = await hkdf(unhex(v.dek), salt, canonical("cmk/file/1", magic, place(v, "cmk/file/1")), 32);
  const body = data.slice(end);
  if (named) {
    const name = await gcm(key, join(Buffer.alloc(11), [2]), data.slice(start + 18, end), new Uint8Array());
    const size = name[0] * 256 + name[1];
    need(name.length === Math.ceil((2 + size) / 64) * 64 && name.slice(2 + size).every((byte) => byte === 0));
    need(Buffer.from(name.slice(2, 2 + size)).toString() === v.filename);
  }
  const count = Math.max(1, Math.ceil(body.length / chunk)), out = [];
  for (let n = 0; n < count; n++) {
    const last = n === count - 1, nonce = join(Buffer.alloc(7), u32(n), [last ? 1 : 0]);
    const opened = await gcm(key, nonce, body.slice(n * chunk, (n + 1) * chunk), new Uint8Array());
    need(opened.length > 0 || count === 1);
    out.push(opened);
  }
  return join(...out);
}

// section 4
function message(data) {
  const fields = {};
  let at = 0;
  const varint = () => {
    let found = 0n, shift = 0n;
    for (;;) {
      need(at < data.length && shift < 70n);
      const byte = BigInt(data[at++]);
      found |= (byte & 127n) << shift;
      if (byte < 128n) return Number(found);
      shift += 7n;
    }
  };
  while (at < data.length) {
    const key = varint(), number = key >> 3;
    need(!(number in fields) && ((key & 7) === 0 || (key & 7) === 2));
    if ((key & 7) === 0) { fields[number] = varint(); continue; }
    const size = varint();
    need(at + size <= data.length);
    fields[number] = data.slice(at, (at += size));
  }
  return fields;
}
async function direct(v, content, config, purpose) {
  need(content[0] === 1 && content[1] === 1 && content[34] === 1);
  const facts = [v.vendor, v.tenant, String(config), purpose].map((p) => text.encode(p));
  const blob = content.slice(35); // the local key service's: 01 ‖ nonce ‖ ciphertext ‖ tag under the KEK
  const key = await gcm(unhex(v.kek), blob.slice(0, 12), blob.slice(12), canonical("cmk/key/1", ...facts));
  need(same(content.slice(2, 34), await hmac(key, canonical("cmk/edek/commit/1", ...facts))));
  return key;
}
async function edek(v) {
  const outer = message(unhex(v.edek));
  need(outer[1] instanceof Uint8Array && Object.keys(outer).length === 1);
  const { 1: content, 2: config, 3: id, 5: nested, 6: named } = message(outer[1]);
  need(content && config > 0 && (named === undefined || Buffer.from(named).toString() === v.tenant));
  if (content[0] === 1 && content[1] === 1) return direct(v, content, config, "dek");
  need(content[0] === 1 && content[1] === 2 && content.length === 98 && nested);
  const lease = message(nested)[1];
  need(lease);
  const inner = message(lease);
  need(inner[1]);
  const hash = await digest(inner[1]);
  need(inner[2] === config && id === ((Buffer.from(hash).readUInt32BE() & 0x7fffffff) || 1));
  const lek = await direct(v, inner[1], config, "lek");
  const info = canonical("cmk/edek/lease/1", ...[v.vendor, v.tenant, String(config)].map((p) => text.encode(p)), hash);
  const derived = await hkdf(lek, content.slice(2, 18), info, 76);
  need(same(content.slice(18, 50), derived.slice(44)));
  return gcm(derived.slice(0, 32), derived.slice(32, 44), content.slice(50), info);
}

// section 5: X25519 and XSalsa20-Poly1305 are not in WebCrypto; the browser's library is used here as there
async function sealed(v) {
  const sodium = createRequire(import.meta.url)("libsodium-wrappers");
  await sodium.ready;
  const key = unhex(v.private_key), open = sodium.crypto_scalarmult_base(key);
  const id = hex(await digest(open)).slice(0, 32), box = v.record.boxes[id];
  const document = sodium.crypto_box_seal_open(unhex(Buffer.from(box, "base64").toString("hex")), open, key);
  const parts = [];
  for (const name of Object.keys(v.record.boxes).sort()) {
    parts.push(unhex(name), await digest(Buffer.from(v.record.boxes[name], "base64")));
  }
  need(v.hash === null || hex(await digest(canonical("cmk/sealed/1", ...parts))) === v.hash);
  return document;
}

// section 6
async function event(v) {
  const found = JSON.parse(v.line), names = ["id", "time", "vendor", "tenant", "action", "outcome"];
  need(names.every((n) => typeof found[n] === "string") && (found.format ?? 1) === 1 && Number.isInteger(found.code ?? 0));
  return text.encode(JSON.stringify(names.map((n) => found[n])));
}

// section 8
async function index(v) {
  const names = [v.tenant, v.index, ...v.places.flat()].map((p) => text.encode(p));
  const wide = await subtle.importKey("raw", unhex(v.derived), { name: "HMAC", hash: "SHA-512" }, false, ["sign"]);
  const key = new Uint8Array(await subtle.sign("HMAC", wide, canonical("cmk/index/1", ...names))).slice(0, 32);
  if ("ordered" in v) {
    const out = [u32(v.number)];
    for (let i = 1; i <= v.width; i++) {
      const above = Math.floor(v.ordered / 2 ** (v.width - i + 1)), bit = Math.floor(v.ordered / 2 ** (v.width - i)) % 2;
      const drawn = Buffer.from(await hmac(key, join([i], u32(0), u32(above)))).readBigUInt64BE();
      const digit = Number(drawn % 65535n) + bit;
      out.push([digit >> 8, digit & 255]);
    }
    return join(...out);
  }
  const message = join(...v.values.map(unhex).flatMap((p) => [u32(0), u32(p.length), p]));
  const cut = (await hmac(key, message)).slice(0, Math.ceil(v.bits / 8));
  if (v.bits % 8) cut[cut.length - 1] &= 0xff << (8 - (v.bits % 8));
  return join(u32(v.number), cut);
}

// section 9, by the very module that the browser runs
async function client(v) {
  globalThis.sodium = createRequire(import.meta.url)("libsodium-wrappers");
  await sodium.ready;
  const { open } = await import("../../encrypted_fields/static/encrypted_fields/js/envelope.js");
  const privateKey = unhex(v.private_key), publicKey = sodium.crypto_scalarmult_base(privateKey);
  const key = { id: hex(await digest(publicKey)).slice(0, 32), publicKey, privateKey };
  let found;
  try {
    found = open(unhex(v.sealed), key, place(v, "cmk/client/1"));
  } catch (error) {
    need(!/cannot be opened|not sealed for/.test(error.message));
    throw error;
  }
  need(found.bound === (v.row !== null));
  if ("text" in found) return text.encode(found.text);
  need(found.name === v.filename && found.type === "text/plain");
  return new Uint8Array(await found.blob.arrayBuffer());
}

const context = async (v) => canonical(v.label, ...v.parts.map(unhex));
const readers = { context, value, file, edek, sealed, event, index, client };
const [kind, path] = process.argv.slice(2);
for (const vector of JSON.parse(readFileSync(path, "utf-8"))) {
  try {
    console.log(vector.name, "opens", hex(await readers[kind](vector)));
  } catch (error) {
    if (error instanceof TypeError || error instanceof ReferenceError) throw error; // ours, not the vector's
    console.log(vector.name, "refused");
  }
}
