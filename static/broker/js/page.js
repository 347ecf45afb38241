// The sealing page: draw the form, seal what was typed to each proxy key, send the boxes, show what the proxy says.

import { canonical, documentFor } from "./document.js";
import { get, post } from "./exchange.js";
import { clear, draw, read } from "./fields.js";
import { checkedKeys, familiarity, remember } from "./keys.js";
import { mark, watch } from "./progress.js";

const form = document.getElementById("sealing");
const at = (id) => document.getElementById(id);

function trouble(error) {
  at("trouble").textContent = error.message;
  at("trouble").hidden = false;
}

function bodyOf(kind, provider) {
  const body = { provider: provider.kind, options: read(provider.options) };
  if (kind === "siem") return { ...body, when_full: at("refuse").checked ? "refuse" : "count" };
  const leasing = { enabled: at("leasing").checked, renew: Number(at("renew").value), hold: Number(at("hold").value) };
  return { ...body, primary: at("primary").checked, leasing };
}

function sealed(text, keys) {
  const boxes = keys.map(({ id, publicKey }) => {
    const bytes = sodium.from_string(text(id));
    const box = sodium.crypto_box_seal(bytes, publicKey);
    sodium.memzero(bytes);
    return [id, sodium.to_base64(box, sodium.base64_variants.ORIGINAL)];
  });
  return Object.fromEntries(boxes);
}

async function submit(setup, keys, provider) {
  const number = at("target")?.value;
  const wanted = { config: number ? Number(number) : null, label: at("label").value };
  const draft = await post(form.dataset.draft, wanted, form.dataset.csrf);
  const { vendor, tenant, kind } = setup;
  const created = new Date().toISOString();
  const body = bodyOf(kind, provider);
  const text = (key) => canonical(documentFor({ vendor, tenant, kind, draft, created, key, body }));
  const record = { tenant, kind, config: draft.config, version: draft.version, boxes: sealed(text, keys) };
  clear(form); // what was typed is gone before anything is sent
  remember(vendor, keys);
  at("fields").hidden = true;
  at("progress").hidden = false;
  at("progress").focus();
  mark("sealed", "done");
  mark("stored", "busy");
  await post(form.dataset.records, record, form.dataset.csrf);
  mark("stored", "done");
  at("onward").hidden = false;
  await watch(form.dataset.status.replace("/1/status", `/${draft.config}/status`), draft.version);
}

function showKeys(vendor, keys) {
  const now = familiarity(vendor, keys);
  at("known").hidden = now !== "known";
  at("changed").hidden = now !== "changed";
  at("compared-field").hidden = now === "known";
  at("compared").required = now !== "known";
}

function showLeasing() {
  const on = at("leasing").checked;
  at("lease-fields").hidden = !on;
  // a hidden field must not hold the form back with a value that nobody sees
  if (!on) for (const input of [at("renew"), at("hold")]) input.value = input.defaultValue;
}

async function start() {
  if (!isSecureContext) throw new Error("Open this page over https: the browser seals only where nobody can change the page.");
  const setup = await get(form.dataset.form);
  const shown = Array.from(form.querySelectorAll("[data-key]"), (each) => each.dataset.key);
  const keys = await checkedKeys(setup.keys, shown);
  await sodium.ready;
  const chosen = () => setup.providers[at("provider").selectedIndex];
  at("provider").append(...setup.providers.map(({ kind, label }) => new Option(label, kind)));
  at("provider").addEventListener("change", () => draw(at("options"), chosen().options));
  at("leasing")?.addEventListener("change", showLeasing);
  at("target")?.addEventListener("change", () => (at("label-field").hidden = at("target").value !== ""));
  addEventListener("pagehide", () => clear(form));
  draw(at("options"), chosen().options);
  showKeys(setup.vendor, keys);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    at("trouble").hidden = true;
    at("seal").disabled = true;
    submit(setup, keys, chosen())
      .catch((error) => {
        trouble(error);
        clear(form);
        at("progress").hidden = true;
        at("fields").hidden = false;
      })
      .finally(() => (at("seal").disabled = false));
  });
  at("fields").hidden = false;
}

form.addEventListener("submit", (event) => event.preventDefault());
start().catch(trouble);
