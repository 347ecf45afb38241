// Drives IronCore's Node client: a line of JSON in, {op, url, key, tenant, ...}; a line of JSON out. Bytes are base64.
import { createInterface } from "node:readline";
import { PassThrough } from "node:stream";
import client from "@ironcorelabs/tenant-security-nodejs";

const map = (object, change) => Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]));
const bytes = (document) => map(document, (value) => Buffer.from(value, "base64"));
const shown = (found) =>
  Buffer.isBuffer(found) ? found.toString("base64")
  : Array.isArray(found) ? found.map(shown)
  : found instanceof client.TenantSecurityException ? { code: found.errorCode, message: found.message, kind: found.constructor.name }
  : found && typeof found === "object" ? map(found, shown)
  : found;
const stream = async (run, data) => {
  const from = new PassThrough(), out = new PassThrough(), parts = [];
  out.on("data", (part) => parts.push(part));
  from.end(Buffer.from(data, "base64"));
  const reply = await run(from, out);
  return { ...reply, data: Buffer.concat(parts) };
};
const field = (f, name) => ({ ...f, [name]: Buffer.from(f[name], "base64") });
const encrypted = (document) => ({ edek: document.edek, encryptedDocument: bytes(document.encryptedDocument) });
const plain = (document) => ({ edek: document.edek, plaintextDocument: bytes(document.plaintextDocument) });

const operations = {
  encrypt: (c, r, m) => c.encryptDocument(bytes(r.document), m),
  decrypt: (c, r, m) => c.decryptDocument(encrypted(r.document), m),
  encryptAgain: (c, r, m) => c.encryptDocumentWithExistingKey(plain(r.document), m),
  encryptBatch: (c, r, m) => c.encryptDocumentBatch(map(r.documents, bytes), m),
  decryptBatch: (c, r, m) => c.decryptDocumentBatch(map(r.documents, encrypted), m),
  encryptBatchAgain: (c, r, m) => c.encryptDocumentBatchWithExistingKey(map(r.documents, plain), m),
  rekey: (c, r, m) => c.rekeyEdek(r.edek, r.newTenant, m),
  encryptStream: (c, r, m) => stream((from, to) => c.encryptStream(from, to, m), r.data),
  decryptStream: (c, r, m) => stream((from, to) => c.decryptStream(r.edek, from, to, m), r.data),
  event: (c, r) =>
    c.logSecurityEvent(
      r.name ? new client.CustomSecurityEvent(r.name) : client.UserEvent.LOGIN,
      new client.EventMetadata(r.tenant, "user-1", "PII", 1700000000123, "10.1.2.3", "object-9", "req-7", { k1: "v1" }),
    ),
  encryptField: (c, r, m) => c.deterministicClient.encryptField(field(r.field, "plaintextField"), m),
  decryptField: (c, r, m) => c.deterministicClient.decryptField(field(r.field, "encryptedField"), m),
  rotateField: (c, r, m) => c.deterministicClient.rotateField(field(r.field, "encryptedField"), m),
  searchTerms: (c, r, m) => c.deterministicClient.generateSearchTerms(field(r.field, "plaintextField"), m),
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const metadata = new client.DocumentMetadata(request.tenant, "user-1", "PII", "10.1.2.3", "object-9", "req-7", { k1: "v1" });
  let reply;
  try {
    const session = new client.TenantSecurityClient(request.url, request.key);
    reply = { ok: shown(await operations[request.op](session, request, metadata)) ?? null };
  } catch (error) {
    reply = { error: error.constructor.name, code: error.errorCode ?? null, http: error.httpResponseCode ?? null, message: error.message };
  }
  process.stdout.write(JSON.stringify(reply) + "\n");
}
