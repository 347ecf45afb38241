// Forms with sealed fields: on submit, what was typed is sealed, taken out of the page, and only the box is sent.

import { sealFile, sealText } from "./envelope.js";
import { base64, checkedRecipients, text } from "./keys.js";
import { ready } from "./ready.js";

const parts = new WeakMap(); // form → [[name, value]] that the submission carries

const memory = (label) => `cmk-recipient/${label}`;

function start(form) {
  const fields = Array.from(form.querySelectorAll("[data-cmk-seal]"));
  for (const field of fields) warn(field);
  form.addEventListener("formdata", ({ formData }) => {
    for (const [name, value] of parts.get(form) ?? []) {
      if (value instanceof Blob) formData.append(name, value, "sealed");
      else formData.append(name, value);
    }
    parts.delete(form);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const buttons = Array.from(form.querySelectorAll("button, input[type=submit]"));
    for (const button of buttons) button.disabled = true;
    const chosen = event.submitter?.name ? [[event.submitter.name, event.submitter.value]] : [];
    sealAll(fields)
      .then((sealed) => {
        parts.set(form, [...chosen, ...sealed]);
        for (const button of buttons) button.disabled = false;
        // not requestSubmit: its checks would miss what was just taken out of the page
        HTMLFormElement.prototype.submit.call(form);
      })
      .catch((error) => {
        for (const button of buttons) button.disabled = false;
        show(error.field ?? fields[0], error.message);
      });
  });
  addEventListener("pagehide", () => fields.forEach(clear));
  ready(form); // now that a submit seals, people may type
}

async function sealAll(fields) {
  const made = [];
  for (const field of fields) {
    hide(field);
    try {
      const value = await sealed(field);
      if (value !== null) made.push([field.dataset.name, value]);
    } catch (error) {
      throw Object.assign(error, { field });
    }
  }
  fields.forEach(clear); // all are sealed: what was typed is gone before anything is sent
  return made;
}

/** The box of what was put into the field; null when there is nothing. */
export async function sealed(field) {
  const input = plain(field);
  const { place, bound, kept, most } = field.dataset;
  const [file] = input.files ?? [];
  if (!file && !input.value) return kept || null;
  if (changed(field) && !field.querySelector(".cmk-changed input").checked) {
    throw new Error("Confirm the changed key first.");
  }
  const recipients = await checkedRecipients(JSON.parse(field.dataset.recipients));
  if (!recipients.length) throw new Error("There is nobody to seal it to yet.");
  const size = file ? file.size : new TextEncoder().encode(input.value).length;
  if (size > Number(most)) throw new Error(`This is longer than ${most} bytes.`);
  const box = file
    ? await sealFile(file, recipients, base64(place), bound === "1")
    : text(sealText(input.value, recipients, base64(place), bound === "1"));
  for (const { id, label } of recipients) localStorage.setItem(memory(label), id);
  return box;
}

const plain = (field) => field.querySelector("textarea, input[type=file]");

function clear(field) {
  plain(field).value = "";
}

/** Whether a recipient of the same label had another key when something was last sealed from this browser. */
function changed(field) {
  return JSON.parse(field.dataset.recipients).some(({ id, label }) => ![null, id].includes(localStorage.getItem(memory(label))));
}

function warn(field) {
  field.querySelector(".cmk-changed").hidden = !changed(field);
}

function show(field, message) {
  const place = field.querySelector(".cmk-trouble");
  place.textContent = message;
  place.hidden = false;
}

function hide(field) {
  field.querySelector(".cmk-trouble").hidden = true;
}

for (const form of new Set(Array.from(document.querySelectorAll("[data-cmk-seal]"), (field) => field.closest("form")))) {
  if (form) start(form);
}
